from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Callable, Mapping
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audience.people import Attributes, Person
from holdfast.channel import Message
from holdfast.content.library import Library
from holdfast.content.message import Composer, Content, preview
from holdfast.content.samples import ARABIC, REGULAR
from holdfast.content.scope import CampaignScope, Occasion, StepScope
from holdfast.content.tracking import Tracking
from holdfast.errors import HoldfastError
from holdfast.settings import Brand, Business, Web
from holdfast.tokens import Signer

TEMPLATES = Path(__file__).parents[2] / "templates"
BRAND = Brand(public_url="https://r.acme.example/")
SIGNER = Signer(b"0123456789abcdef")
TODAY = date(2026, 6, 3)
OCCASION = Occasion(CampaignScope("winback", "marketing"), StepScope("hello"), None, None)

Compose = Callable[..., Message]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """The message that an .html template gives; more files and settings by name."""

    def made(
        body: str, *, person: Person = REGULAR, files: Mapping[str, str] | None = None, **web: bool
    ) -> Message:
        page = f"{{% block subject %}}Hi{{% endblock %}}{{% block body %}}{body}{{% endblock %}}"
        for name, text in {"t.email.html": page, **(files or {})}.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        tracking = Tracking.of(tmp_path, BRAND, Web.model_validate(web), SIGNER.sign_link)
        library = Library(tmp_path, BRAND, Business(), tracking)
        return Composer(library, SIGNER, BRAND, TODAY).compose(
            42, "email", "a@b.example", Content("t", OCCASION), person
        )

    return made


class Hrefs(HTMLParser):
    """The addresses that a browser would go to, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs).get("href") or "")


def targets(message: Message) -> list[str | None]:
    """Where each link of the page leads in the end; None where it is not tracked."""
    return [target(url) for url in Hrefs(message.html).found]


def target(url: str) -> str | None:
    tracked = re.fullmatch(r"https://r\.acme\.example/c/([^/]+)/([^/]+)", url)
    if tracked is None:
        return None
    assert SIGNER.verify("track", tracked[1], TODAY) == 42
    return SIGNER.verify_link(tracked[2])


@pytest.mark.parametrize(
    ("written", "leads_to"),
    [
        ('<a href="https://shop.example/back">x</a>', "https://shop.example/back"),
        ("<a class='b' href='http://shop.example'>x</a>", "http://shop.example"),
        ("<a href=https://shop.example/a>x</a>", "https://shop.example/a"),
        ('<A HREF="HTTPS://shop.example/">x</A>', "HTTPS://shop.example/"),
        ('<a title="a > b" href="https://shop.example/">x</a>', "https://shop.example/"),
        (
            '<a href="https://shop.example/?a=1&amp;b=2&copy=3">x</a>',
            "https://shop.example/?a=1&b=2©=3",
        ),
        ('<a href=" https://shop.example/ ">x</a>', "https://shop.example/"),
        ('<a href="https://пример.example/ü?q=字">x</a>', "https://пример.example/ü?q=字"),
    ],
)
def test_a_literal_link_leads_through_the_redirect_to_where_a_browser_would_go(
    compose: Compose, written: str, leads_to: str
) -> None:
    assert targets(compose(written)) == [leads_to]


@pytest.mark.parametrize(
    "href",
    [
        "#top",
        "mailto:a@b.example",
        "tel:+49301234",
        "javascript:alert(1)",
        "//shop.example/",
        "/relative",
        "https://user@shop.example/",
        "https://shop.example@evil.example/",
        "https://shop.example\\@evil.example/",
        "https://[bad",
        "https:///path",
        "https://r.acme.example/imprint",
        "",
    ],
)
def test_what_is_no_plain_web_address_of_somebody_elses_is_left_as_it_is(compose: Compose, href: str) -> None:
    assert Hrefs(compose(f'<a href="{href}">x</a>').html).found == [href]


def test_the_links_of_a_customers_own_pages_are_left_alone(compose: Compose) -> None:
    message = compose('<a href="{{ links.unsubscribe }}">out</a>')
    assert Hrefs(message.html).found == [f"https://r.acme.example/u/{SIGNER.sign('unsubscribe', 42)}"]


def test_a_computed_link_is_tracked_where_its_host_is_written_in_a_template(compose: Compose) -> None:
    message = compose("<a href=\"{{ ('https://shop.example/p/' ~ customer.city) | track }}\">x</a>")
    assert targets(message) == [f"https://shop.example/p/{REGULAR.customer.city}"]


@given(
    site=st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            [
                "https://evil.example/",
                "https://shop.example@evil.example/",
                "https://shop.example.evil.example/",
                "https://evil.example/?https://shop.example/",
                'https://evil.example/" href="https://shop.example/',
                "//evil.example",
                "https://evil.example\\@shop.example/",
                "HTTPS://EVIL.example/",
                "https://shop.example:444/",
            ]
        ),
    )
)
def test_a_host_that_comes_from_customer_data_is_never_signed(
    tmp_path_factory: pytest.TempPathFactory, site: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "hosts"
    folder.mkdir(exist_ok=True)
    (folder / "t.email.html").write_text(
        '{% block subject %}Hi{% endblock %}<a href="https://shop.example/">x</a>'
        '<a href="{{ customer.attributes.site | track }}">y</a>{{ customer.attributes.site }}'
    )
    customer = dataclasses.replace(REGULAR.customer, attributes=Attributes({"site": site}))
    library = Library(
        folder, BRAND, Business(), Tracking.of(folder, BRAND, Web.model_validate({}), SIGNER.sign_link)
    )
    message = Composer(library, SIGNER, BRAND, TODAY).compose(
        42, "email", "a@b.example", Content("t", OCCASION), Person(customer, REGULAR.history)
    )
    signed = [found for found in map(target, Hrefs(message.html).found) if found]
    assert all(url.lower().startswith("https://shop.example/") for url in signed)
    assert signed[0] == "https://shop.example/"


def test_an_email_ends_in_a_pixel_inside_its_body(compose: Compose) -> None:
    page = compose("</p></body></html>").html
    token = SIGNER.sign("track", 42, date(2027, 7, 8))
    pixel = f'<img src="https://r.acme.example/o/{token}.gif" width="1" height="1" alt="" />'
    assert page.endswith(f"</p>{pixel}</body></html>")


def test_clicks_and_opens_are_each_tracked_only_where_the_project_wants_it(compose: Compose) -> None:
    link = '<a href="https://shop.example/">x</a><a href="{{ \'https://shop.example/\' | track }}">y</a>'
    assert targets(compose(link, track_clicks=False)) == [None, None]
    assert "/o/" in compose(link, track_clicks=False).html
    assert "/o/" not in compose(link, track_opens=False).html
    assert targets(compose(link, track_opens=False)) == ["https://shop.example/"] * 2


def test_the_text_part_shows_literal_links_as_they_were_written(compose: Compose) -> None:
    assert compose('<p><a href="https://shop.example/back">Come</a></p>').text.endswith(
        "Come: https://shop.example/back\n"
    )


def test_without_a_public_address_nothing_is_tracked() -> None:
    assert Tracking.of(TEMPLATES, Brand(), Web.model_validate({}), SIGNER.sign_link) is None


def test_a_preview_keeps_the_links_to_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "t.email.html").write_text(
        '{% block subject %}Hi{% endblock %}<a href="https://shop.example/">x</a>'
    )
    tracking = Tracking.of(tmp_path, BRAND, Web.model_validate({}), SIGNER.sign_link)
    shown = preview(Library(tmp_path, BRAND, Business(), tracking), "email", Content("t", OCCASION), REGULAR)
    assert shown.html == 'Hi<a href="https://shop.example/">x</a>'


@pytest.mark.parametrize("template", ["winback/hello", "winback/hello_coupon", "winback/reminder"])
@pytest.mark.parametrize("person", [REGULAR, ARABIC])
def test_every_link_of_a_shipped_email_leads_to_the_shop_or_the_customers_own_pages(
    template: str, person: Person
) -> None:
    tracking = Tracking.of(TEMPLATES, BRAND, Web.model_validate({}), SIGNER.sign_link)
    library = Library(TEMPLATES, BRAND, Business(), tracking)
    message = Composer(library, SIGNER, BRAND, TODAY).compose(
        42, "email", "a@b.example", Content(template, OCCASION), person
    )
    found = Hrefs(message.html).found
    assert len(found) >= 3
    assert all(
        target(url) or re.match(r"https://r\.acme\.example/[up]/", html.unescape(url)) for url in found
    )


def test_all_messages_of_one_way_through_a_template_share_a_skeleton(compose: Compose) -> None:
    tracking = Tracking.of(TEMPLATES, BRAND, Web.model_validate({}), SIGNER.sign_link)
    library = Library(TEMPLATES, BRAND, Business(), tracking)
    composer = Composer(library, SIGNER, BRAND, TODAY)
    one, two = (
        composer.compose(id_, "email", "a@b.example", Content("winback/hello", OCCASION), REGULAR)
        for id_ in (1, 2)
    )
    assert one.skeleton is two.skeleton
    assert one.escaped[0] == SIGNER.sign("track", 1, date(2027, 7, 8))
    assert one.html.count(one.escaped[0]) == 2  # the button and the pixel
    assert two.html.count(two.escaped[0]) == 2


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_with_an_end_is_good_until_its_last_day() -> None:
    token = SIGNER.sign("preferences", 7, TODAY)
    assert SIGNER.verify("preferences", token, TODAY) == 7
    with pytest.raises(HoldfastError, match="this link is too old"):
        SIGNER.verify("preferences", token, date(2026, 6, 4))


@given(url=st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_a_link_token_gives_its_address_back_and_no_other_key_opens_it(url: str) -> None:
    token = SIGNER.sign_link(url)
    assert SIGNER.verify_link(token) == url
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", token)
    with pytest.raises(HoldfastError):
        Signer(b"another secret 16").verify_link(token)


@given(data=st.data())
def test_a_token_that_was_tampered_with_is_refused(data: st.DataObject) -> None:
    token = SIGNER.sign("track", 42, TODAY)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda char: char != token[place]))
    with pytest.raises(HoldfastError, match="not made by this project"):
        SIGNER.verify("track", token[:place] + letter + token[place + 1 :], TODAY)


@given(token=st.text())
def test_any_text_is_refused_as_a_token_or_a_link(token: str) -> None:
    for verify in (lambda: SIGNER.verify("unsubscribe", token, TODAY), lambda: SIGNER.verify_link(token)):
        with pytest.raises(HoldfastError):
            verify()


def test_a_token_for_one_purpose_opens_nothing_else() -> None:
    with pytest.raises(HoldfastError):
        SIGNER.verify("unsubscribe", SIGNER.sign("track", 42))
    with pytest.raises(HoldfastError):
        SIGNER.verify_link(SIGNER.sign("track", 42))
