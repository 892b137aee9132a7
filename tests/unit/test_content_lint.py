# ruff: noqa: E501 - problems stand as they are printed
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.audience.people import Needs
from holdfast.campaign.models import Campaign
from holdfast.content.library import Library
from holdfast.content.lint import lint_templates
from holdfast.errors import RenderError
from holdfast.settings import Project

REPOSITORY = Path(__file__).parents[2]
KINDS = {"email": "email", "text": "sms"}
BUYERS = {"orders.count": {"gte": 1}}
LAYOUT = """\
<mjml><mj-body><mj-section><mj-column>
{% block body %}{% endblock %}
<mj-text><a href="{{ links.unsubscribe }}">Leave</a></mj-text>
</mj-column></mj-section></mj-body></mjml>
"""
HEAD = "{% extends 'layout.mjml' %}{% block subject %}Hi{% endblock %}{% block body %}\n"

Lint = Callable[..., list[str]]


def campaign(channel: str = "text", **more: Any) -> Campaign:
    return Campaign.model_validate(
        {
            "campaign": "winback",
            "audience": {"country": "DE"},
            "steps": [{"id": "hello", "channels": [channel], "template": "t"}],
            **more,
        }
    )


@pytest.fixture
def lint(tmp_path: Path) -> Lint:
    """Problems of one text template, or of the given files, as they are printed."""

    def lint(source: str | dict[str, str], **more: Any) -> list[str]:
        files = {"t.sms.txt": source} if isinstance(source, str) else {"layout.mjml": LAYOUT, **source}
        for name, text in files.items():
            (tmp_path / "templates").mkdir(exist_ok=True)
            (tmp_path / "templates" / name).write_text(text, encoding="utf-8")
        return [str(found) for found in lint_templates(campaign(**more), Project(root=tmp_path), KINDS)]

    return lint


def lint_email(lint: Lint, body: str, **more: Any) -> list[str]:
    return lint({"t.email.mjml": f"{HEAD}{body}\n{{% endblock %}}"}, channel="email", **more)


SCOPE = "one of brand, campaign, coupon, customer, history, links, message, step, variant"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "Hi\n{{ custommer.name }}",
            f"templates/t.sms.txt:2:4: unknown name 'custommer'; expected {SCOPE}; did you mean 'customer'?\n"
            "    {{ custommer.name }}\n       ^",
        ),
        (
            "{{ step.name }}",
            "templates/t.sms.txt:1:4: step has no 'name'; expected one of id\n    {{ step.name }}\n       ^",
        ),
        (
            "{% for o in history.orders %}{{ o.totl | money }}{% endfor %}",
            "templates/t.sms.txt:1:33: o has no 'totl'; expected one of id, lines, placed_at, status, total; "
            "did you mean 'total'?\n"
            "    {% for o in history.orders %}{{ o.totl | money }}{% endfor %}\n" + " " * 36 + "^",
        ),
        (
            "Hi {{ customer.first_name }}",
            "templates/t.sms.txt:1:7: customer.first_name may be missing; expected "
            '`| or_("…")` after it, or `{% if customer.first_name %}` around it\n'
            "    Hi {{ customer.first_name }}\n          ^",
        ),
        (
            "{{ history.last_order.total | money }}",
            "templates/t.sms.txt:1:4: history.last_order may be missing; expected "
            "`{% if history.last_order %}` around it\n"
            "    {{ history.last_order.total | money }}\n       ^",
        ),
        (
            "{{ history.total_spent }}",
            "templates/t.sms.txt:1:4: history.total_spent is printed without a filter; expected `| money` after it\n"
            "    {{ history.total_spent }}\n       ^",
        ),
        (
            "{{ history.order_count | mony }}",
            "templates/t.sms.txt:1:26: unknown filter 'mony'; did you mean 'money'?\n"
            "    {{ history.order_count | mony }}\n" + " " * 29 + "^",
        ),
        (
            "{{ history.order_count | money }}",
            "templates/t.sms.txt:1:4: history.order_count cannot be printed with `| money`\n"
            "    {{ history.order_count | money }}\n       ^",
        ),
        (
            "{{ loyalty.points }}",
            "templates/t.sms.txt:1:4: loyalty is not supported yet\n    {{ loyalty.points }}\n       ^",
        ),
        (
            "{{ links.view_online }}",
            "templates/t.sms.txt:1:4: links.view_online is not supported yet\n"
            "    {{ links.view_online }}\n       ^",
        ),
        (
            "{{ links.referral }}",
            "templates/t.sms.txt:1:4: links.referral may be missing; expected "
            '`| or_("…")` after it, or `{% if links.referral %}` around it\n'
            "    {{ links.referral }}\n       ^",
        ),
        (
            "a\n {% if x %}",
            "templates/t.sms.txt:2:2: Unexpected end of template. Jinja was looking for the following tags: 'elif' or "
            "'else' or 'endif'. The innermost block that needs to be closed is 'if'\n     {% if x %}\n     ^",
        ),
        (
            "{% set x %}a{% endset %}",
            "templates/t.sms.txt:1:4: {% set %} with a block is not supported: it would work on placeholders; expected "
            "{% if %}, {% for %}, {% include %}, filters or {% set name = … %}\n"
            "    {% set x %}a{% endset %}\n       ^",
        ),
        (
            "{% macro x() %}a{% endmacro %}",
            "templates/t.sms.txt:1:4: {% macro %} is not supported: it would work on placeholders; expected "
            "{% if %}, {% for %}, {% include %}, filters or {% set name = … %}\n"
            "    {% macro x() %}a{% endmacro %}\n       ^",
        ),
        (
            "{% include 'layot.mjml' %}",
            "templates/t.sms.txt:1:13: no file templates/layot.mjml; did you mean 'layout.mjml'?\n"
            "    {% include 'layot.mjml' %}\n                ^",
        ),
        (
            "{% include step.id %}",
            "templates/t.sms.txt:1:4: {% include %} with a computed name; expected a file's name in quotes\n"
            "    {% include step.id %}\n       ^",
        ),
        (
            "{% include 't.sms.txt' %}",
            "templates/t.sms.txt:1:13: templates/t.sms.txt comes back to itself through {% include %}\n"
            "    {% include 't.sms.txt' %}\n                ^",
        ),
        (
            "{{ campaign.name.upper() }}",
            "templates/t.sms.txt:1:4: campaign.name.upper is called; expected a filter: templates call nothing\n    {{ campaign.name.upper() }}\n       ^",
        ),
    ],
)
def test_a_mistake_is_shown_at_its_place(lint: Lint, source: str, problem: str) -> None:
    assert lint({"t.sms.txt": source})[0] == problem


@pytest.mark.parametrize(
    "source",
    [
        "{{ customer.first_name | or_('you') }}",
        "{% if customer.first_name %}{{ customer.first_name }}{% endif %}",
        "{% if not coupon %}none{% else %}{{ coupon }}{% endif %}",
        "{% if coupon is none %}none{% else %}{{ coupon }}{% endif %}",
        "{% if coupon and variant %}{{ coupon }}{{ variant }}{% endif %}",
        "{{ coupon if coupon else 'none' }}",
        "{% if history.last_order and history.last_order.lines %}{{ history.last_order.total | money }}{% endif %}",
        "{% set order = history.last_order %}{% if order %}{{ order.placed_at | date }}{% endif %}",
        "{% for order in history.orders[:3] %}{{ loop.index }} {{ order.id }}{% endfor %}",
        "{{ customer.attributes.plan | or_('free') }}",
        "{{ history.average_order | money | or_('nothing') }}",
        "{% with n = history.order_count %}{{ n | plural(one='order', other='orders') }}{% endwith %}",
    ],
)
def test_what_may_be_missing_is_fine_where_it_is_seen_to(lint: Lint, source: str) -> None:
    assert lint(source) == []


@pytest.mark.parametrize(
    "audience",
    [
        BUYERS,
        {"lifecycle": {"in": ["lapsed", "at_risk"]}},
        {"all": [{"country": "DE"}, {"orders.last": {"within": "30d"}}]},
    ],
)
def test_an_audience_of_buyers_has_a_last_order(lint: Lint, audience: dict[str, Any]) -> None:
    assert lint("{{ history.last_order.total | money }}", audience=audience) == []


@pytest.mark.parametrize(
    "audience",
    [
        {"any": [BUYERS, {"country": "DE"}]},
        {"not": BUYERS},
        {"orders.count": {"gte": 0}},
        {"lifecycle": {"in": ["never_purchased", "new"]}},
    ],
)
def test_any_other_audience_may_have_none(lint: Lint, audience: dict[str, Any]) -> None:
    assert (
        "history.last_order may be missing"
        in lint("{{ history.last_order.total | money }}", audience=audience)[0]
    )


def test_a_missing_template_says_what_was_tried_and_what_was_meant(lint: Lint) -> None:
    assert lint({"tt.email.mjml": "x"}, channel="email") == [
        "campaigns/winback.yaml: there is no template t for email; expected templates/t.email.mjml or "
        "templates/t.email.html; did you mean 'tt'?"
    ]


def test_a_template_in_one_language_alone_lacks_its_default(lint: Lint) -> None:
    assert lint({"t.sms.ar.txt": "x"}) == [
        "campaigns/winback.yaml: there is no template t for sms; expected templates/t.sms.txt; did you mean 't'?"
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            '<mj-button href="{{ customer.attributes.site | or_("x") }}">Go</mj-button>',
            "templates/t.email.mjml:2:18: a computed address in a link; expected the whole address in one expression, "
            'with `| track` at its end\n    <mj-button href="{{ customer.attributes.site | or_("x") }}">Go</mj-button>'
            "\n                     ^",
        ),
        (
            "<mj-text>a</mj-txt>",
            "templates/t.email.mjml:2:11: </mj-txt> where </mj-text> was expected\n"
            "    <mj-text>a</mj-txt>\n              ^",
        ),
        (
            "<mj-txt>a</mj-txt>",
            "templates/t.email.mjml:2:1: unknown MJML element <mj-txt>; did you mean 'mj-text'?\n"
            "    <mj-txt>a</mj-txt>\n    ^",
        ),
        (
            "<mj-text>a < b</mj-text>",
            "templates/t.email.mjml: MJML: unable to parse next template in root template",
        ),
    ],
)
def test_a_mistake_in_an_email_is_shown(lint: Lint, body: str, problem: str) -> None:
    assert problem in lint_email(lint, body)


@pytest.mark.parametrize(
    "body",
    [
        "<mj-button href=\"{{ ('https://shop.example/' ~ step.id) | track }}\">Go</mj-button>",
        '<mj-button href="https://shop.example/back">Go</mj-button>',
        '<mj-text><a href="{{ links.preferences }}">x</a><br>y &amp; z</mj-text>',
    ],
)
def test_a_sound_email_has_no_problems(lint: Lint, body: str) -> None:
    assert lint_email(lint, body) == []


def test_an_email_needs_subject_body_and_a_way_out(lint: Lint) -> None:
    assert lint({"t.email.mjml": "{% extends 'layout.mjml' %}"}, channel="email") == [
        "templates/t.email.mjml: an email without a subject; expected {% block subject %}…{% endblock %}",
        "templates/t.email.mjml: the layout's body is not filled; expected {% block body %}…{% endblock %}",
    ]
    no_way_out = {
        "layout.mjml": LAYOUT.replace("{{ links.unsubscribe }}", "#"),
        "t.email.mjml": f"{HEAD}{{% endblock %}}",
    }
    assert lint(no_way_out, channel="email") == [
        "templates/t.email.mjml: a marketing email without links.unsubscribe; expected it in the body or layout"
    ]
    assert lint(no_way_out, channel="email", purpose="transactional") == []


@pytest.mark.parametrize(
    ("template", "purpose", "channel", "audience"),
    [
        ("winback/hello", "marketing", "email", {"country": "DE"}),
        ("winback/hello", "marketing", "telegram", {"country": "DE"}),
        ("winback/hello_coupon", "marketing", "email", {"country": "DE"}),
        ("winback/reminder", "marketing", "email", BUYERS),
        ("thanks/order", "transactional", "email", BUYERS),
    ],
)
def test_shipped_templates_have_no_problems(
    template: str, purpose: str, channel: str, audience: dict[str, Any]
) -> None:
    steps = [{"id": "a", "channels": [channel], "template": template}]
    checked = campaign(purpose=purpose, audience=audience, steps=steps)
    kinds = {"email": "email", "telegram": "telegram"}
    assert lint_templates(checked, Project(root=REPOSITORY), kinds) == []


def test_variants_templates_are_checked_too(lint: Lint) -> None:
    steps = [
        {
            "id": "a",
            "channels": ["text"],
            "template": "t",
            "variants": {"one": {"weight": 1}, "two": {"weight": 1, "template": "other"}},
        }
    ]
    assert lint("fine", steps=steps) == [
        "campaigns/winback.yaml: there is no template other for sms; expected templates/other.sms.txt"
    ]


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("hi", Needs()),
        ("{{ history.last_order.id }}", Needs(orders=1)),
        ("{{ history.last_order.lines[0].name }}", Needs(orders=1, lines=True)),
        ("{% for order in history.orders %}{{ order.id }}{% endfor %}", Needs(orders=20)),
        ("{{ (history.orders | last).lines | length }}", Needs(orders=20, lines=True)),
        ("{{ history.favourite_category }}", Needs(favourites=True)),
        ("{{ history.total_spent | money }}", Needs()),
    ],
)
def test_a_template_needs_what_it_and_its_includes_read(tmp_path: Path, source: str, needs: Needs) -> None:
    project = Project(root=tmp_path)
    (tmp_path / "inner.txt").write_text(source)
    (tmp_path / "t.sms.txt").write_text("{% include 'inner.txt' %}")
    library = Library(tmp_path, project.brand, project.business)
    assert library.needs("t", "sms") == needs
    assert library.sources("t", "sms") == ["inner.txt", "t.sms.txt"]


# --- posts ----------------------------------------------------------------------------------------


def problem_with(text: str) -> str | None:
    """What a network says that takes ten characters."""
    return f"{len(text)} characters are more than 10" if len(text) > 10 else None


def lint_post(root: Path, source: str | None, **more: Any) -> list[str]:
    (root / "templates").mkdir(exist_ok=True)
    (root / "templates" / "t.sms.txt").write_text("Hello")
    if source is not None:
        (root / "templates" / "shout.x.txt").write_text(source, encoding="utf-8")
    post = {"id": "shout", "post": ["wall"], "template": "shout", **more}
    steps = [post, {"id": "hello", "channels": ["text"], "template": "t"}]
    problems = lint_templates(
        campaign(steps=steps),
        Project(root=root),
        {**KINDS, "wall": "x"},
        post_checks={"wall": problem_with},
    )
    return [str(problem) for problem in problems]


POST_SCOPE = "one of brand, campaign, coupon, message, step"


@pytest.mark.parametrize(
    ("source", "problems"),
    [
        ("{{ brand.name }}", []),
        ("{{ step.id }} {{ coupon | or_('') }}", []),
        ("{{ campaign.name }} again", ["templates/shout.x.txt: 13 characters are more than 10"]),
        (
            "Hi {{ customer.first_name }}",
            [
                "templates/shout.x.txt:1:7: a post has no customer: it is written to nobody in particular\n"
                "    Hi {{ customer.first_name }}\n          ^"
            ],
        ),
        (
            "{{ links.unsubscribe }}",
            [
                "templates/shout.x.txt:1:4: a post has no links: it is written to nobody in particular\n"
                "    {{ links.unsubscribe }}\n       ^"
            ],
        ),
        (
            "{{ bran.name }}",
            [
                f"templates/shout.x.txt:1:4: unknown name 'bran'; expected {POST_SCOPE}; did you mean 'brand'?\n"
                "    {{ bran.name }}\n       ^"
            ],
        ),
        (
            None,
            ["campaigns/winback.yaml: there is no template shout for x; expected templates/shout.x.txt"],
        ),
    ],
)
def test_what_is_wrong_in_a_posts_template_is_said(
    tmp_path: Path, source: str | None, problems: list[str]
) -> None:
    assert lint_post(tmp_path, source) == problems


def test_every_locale_of_a_posts_template_is_checked(tmp_path: Path) -> None:
    lint_post(tmp_path, "Short")
    (tmp_path / "templates" / "shout.x.de.txt").write_text("Viel zu lang")
    assert lint_post(tmp_path, "Short") == ["templates/shout.x.de.txt: 12 characters are more than 10"]


# --- attachments ----------------------------------------------------------------------------------


def attaching(*paths: str) -> dict[str, Any]:
    return {"steps": [{"id": "hello", "channels": ["text"], "template": "t", "attach": list(paths)}]}


def test_a_file_that_is_not_there_is_missed_before_anybody_is(lint: Lint) -> None:
    files = {"t.sms.txt": "Hi", "terms.pdf": "%PDF"}
    assert lint(files, **attaching("terms.pdf")) == []
    assert lint(files, **attaching("terms.pdf", "term.pdf")) == [
        "campaigns/winback.yaml: there is no file templates/term.pdf to attach; did you mean 'terms.pdf'?"
    ]


def test_a_link_out_of_the_folder_goes_along_with_nothing(lint: Lint, tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("TOKEN=x", encoding="utf-8")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "terms.pdf").symlink_to(tmp_path / "secrets")
    (tmp_path / "templates" / "same.pdf").symlink_to(tmp_path / "templates" / "t.sms.txt")
    assert lint({"t.sms.txt": "Hi"}, **attaching("same.pdf", "terms.pdf")) == [
        "campaigns/winback.yaml: templates/terms.pdf is a link out of templates/; expected the file itself"
    ]
    project = Project(root=tmp_path)
    library = Library(tmp_path / "templates", project.brand, project.business)
    with pytest.raises(RenderError, match="a link out of templates/"):
        library.attachments(("terms.pdf",))


def test_files_too_large_together_are_a_problem(lint: Lint) -> None:
    files = {"t.sms.txt": "Hi", "a.pdf": "x" * 6_000_000, "b.pdf": "x" * 4_000_001}
    assert lint(files, **attaching("a.pdf")) == []
    assert lint(files, **attaching("a.pdf", "b.pdf")) == [
        "campaigns/winback.yaml: 10,000,001 bytes to attach;"
        " expected 10,000,000 at most, or a link in the template"
    ]
