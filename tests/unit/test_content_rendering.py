from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from holdfast.audience.people import Attributes, Customer, History, Line, Money, Order, Person, Product, clean
from holdfast.campaign.models import Campaign, Post
from holdfast.content.environment import FILTERS, FORMATS
from holdfast.content.library import Library
from holdfast.content.message import SAMPLE_LINKS, Composer, Content, post_text, preview
from holdfast.content.samples import ARABIC, NAMELESS, REGULAR
from holdfast.content.scope import CampaignScope, Occasion, StepScope
from holdfast.content.skeleton import compile_mjml
from holdfast.errors import RenderError
from holdfast.settings import Brand, Business
from holdfast.tokens import Signer

TEMPLATES = Path(__file__).parents[2] / "templates"
BRAND = Brand(name="Acme & Sons", postal_address="1 High St, Berlin", public_url="https://r.acme.example/")
TODAY = date(2026, 6, 3)
OCCASION = Occasion(CampaignScope("winback", "marketing"), StepScope("hello"), "coupon", "WELCOME<10>")
SHIPPED = ["winback/hello", "winback/hello_coupon", "winback/reminder", "thanks/order"]
SHIPPED_LIBRARY = Library(TEMPLATES, BRAND, Business())

LAYOUT = (
    "<mjml><mj-body><mj-section><mj-column>{% block body %}<mj-text>Dear {{ customer.name }}</mj-text>"
    "{% endblock %}</mj-column></mj-section></mj-body></mjml>"
)

MakeLibrary = Callable[[Mapping[str, str]], Library]


@pytest.fixture
def make_library(tmp_path: Path) -> MakeLibrary:
    """A library of the given files."""

    def make(files: Mapping[str, str]) -> Library:
        for name, text in {"layout.mjml": LAYOUT, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Library(tmp_path, BRAND, Business())

    return make


def named(first_name: str | None, person: Person = REGULAR) -> Person:
    """The person under another name, as it would come out of the store."""
    customer = dataclasses.replace(person.customer, first_name=clean(first_name))
    return Person(customer, person.history)


def mjml(body: str, subject: str = "Hello") -> str:
    return (
        f"{{% extends 'layout.mjml' %}}{{% block subject %}}{subject}{{% endblock %}}"
        f"{{% block body %}}{body}{{% endblock %}}"
    )


def render_html(library: Library, person: Person = REGULAR) -> str:
    return preview(library, "email", Content("t", OCCASION), person).html


def render_text(make_library: MakeLibrary, template: str, person: Person = REGULAR) -> str:
    library = make_library({"t.sms.txt": template})
    return preview(library, "sms", Content("t", OCCASION), person).text


# --- equal to plain Jinja and MJML ----------------------------------------------------------------


PLAIN_JINJA = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=lambda value: "" if value is None else value,
    trim_blocks=True,
    lstrip_blocks=True,
)
PLAIN_JINJA.filters |= FILTERS
UNESCAPED = PLAIN_JINJA.overlay(autoescape=False)


def plainly(template: str, person: Person) -> tuple[str, str]:
    """HTML and subject by Jinja with autoescape, then MJML, for this customer alone."""
    file = SHIPPED_LIBRARY.choose(template, "email", person.customer.locale)
    scope = {
        **SHIPPED_LIBRARY._scope(file, person, OCCASION, SAMPLE_LINKS),
        FORMATS: SHIPPED_LIBRARY._formats(person.customer.locale, person.customer.timezone, file.locale),
    }
    html = compile_mjml(PLAIN_JINJA.get_template(file.name).render(scope))
    context = UNESCAPED.get_template(file.name).new_context(scope)
    return html, "".join(context.blocks["subject"][0](context))


def test_a_letter_loads_the_fonts_that_its_template_declares_and_no_others() -> None:
    letter = (
        "<mjml><mj-head>{}</mj-head><mj-body><mj-section><mj-column>"
        '<mj-text font-family="Own, Roboto, sans-serif">Hello</mj-text>'
        "</mj-column></mj-section></mj-body></mjml>"
    )
    own = '<mj-font name="Own" href="https://shop.example/own.css" />'
    assert re.findall(r"https?://[\w.]+", compile_mjml(letter.format(""))) == ["http://www.w3.org"]
    assert "https://shop.example/own.css" in compile_mjml(letter.format(own))


hostile_texts = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "{{ 7 * 7 }}{% raw %}",
            "</mj-text><mj-text>",
            'O\'Brien & "Sons"',
            "hf0x1z",
            "-->",
            "]]>",
            "  ",
            "\u202eevil",
            "می‌خواهم",
        ]
    ),
).map(clean)
moneys = st.builds(Money, st.integers(0, 10**7), st.sampled_from(["EUR", "JPY", "KWD"]))
lines = st.builds(
    Line,
    st.integers(1, 2000),
    st.just("SKU"),
    hostile_texts.map(lambda text: text or "thing"),
    st.none(),
    moneys,
)
orders = st.builds(
    Order,
    hostile_texts.map(lambda text: text or "1"),
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    moneys,
    st.just("paid"),
    st.lists(lines, max_size=4).map(tuple),
)
products = st.builds(Product, st.just("S"), hostile_texts.map(lambda text: text or "x"), st.just("c"), moneys)
people = st.builds(
    Person,
    st.builds(
        Customer,
        hostile_texts,
        hostile_texts,
        st.sampled_from([None, "en_GB", "de-AT", "ar-EG", "AR", "fa_IR", "fr", "x-y-z", "zz"]),
        st.sampled_from([None, "Africa/Cairo", "Nowhere/At_All", "America/Los_Angeles"]),
    ),
    st.builds(
        History,
        st.integers(0, 9),
        moneys,
        st.none(),
        st.lists(orders, max_size=2).map(tuple),
        hostile_texts,
        st.lists(products, max_size=3).map(tuple),
    ),
)


@pytest.mark.parametrize("template", SHIPPED)
@settings(max_examples=100, deadline=None)
@given(person=people)
def test_a_shipped_template_gives_the_bytes_of_plain_jinja_then_mjml(template: str, person: Person) -> None:
    shown = preview(SHIPPED_LIBRARY, "email", Content(template, OCCASION), person)
    html, subject = plainly(template, person)
    assert shown.html == html
    assert shown.subject == (clean(" ".join(subject.split()), 250) or "")


def test_customers_who_took_the_same_way_share_one_skeleton() -> None:
    def skeleton(person: Person) -> object:
        return SHIPPED_LIBRARY.render("winback/hello", "email", person, OCCASION, SAMPLE_LINKS).skeleton

    assert skeleton(named("Anna")) is skeleton(named("Bob"))
    assert skeleton(named("Anna")) is not skeleton(named(None))


def test_values_are_small_beside_the_skeleton() -> None:
    rendered = SHIPPED_LIBRARY.render("winback/hello", "email", REGULAR, OCCASION, SAMPLE_LINKS)
    assert sum(map(len, rendered.escaped)) < 600
    assert sum(map(len, rendered.skeleton.html)) > 8000


def test_endless_ways_through_a_template_do_not_fill_the_memory(make_library: MakeLibrary) -> None:
    library = make_library({"t.sms.txt": "{% for _ in range(history.order_count) %}.{% endfor %}"})
    for count in range(1100):
        person = Person(REGULAR.customer, History(count, Money(0, "EUR")))
        assert len(library.render("t", "sms", person, OCCASION, SAMPLE_LINKS).skeleton.text[0]) == count
    cache = library.choose("t", "sms", None).skeleton
    assert cache.cache_info().currsize == 1024  # type: ignore[attr-defined]


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("  Anna \n", "Anna"),
        ("Anna\r\nBcc: all@example.org", "Anna Bcc: all@example.org"),
        ("\u202eannA\u202c", "annA"),
        ("a\u2066b\u2069c\u200ed\u061c", "abcd"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("nul\x00bell\x07", "nulbell"),
        ("نازنین\u200cزهرا", "نازنین\u200cزهرا"),
        ("👩\u200d🌾", "👩\u200d🌾"),
        ("\ud800lone", "lone"),
        (" \u200f\n", None),
        ("", None),
        (None, None),
        ("x" * 500, "x" * 100),
    ],
)
def test_a_name_is_cleaned_of_what_breaks_lines_and_directions(
    written: str | None, cleaned: str | None
) -> None:
    assert clean(written) == cleaned


@given(st.text())
@example("0 \x08\x85\U00014647")
def test_a_clean_text_is_one_short_line_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert cleaned is None or (0 < len(cleaned) <= 100 and len(cleaned.splitlines()) == 1)
    assert clean(cleaned) == cleaned


def test_a_script_in_a_name_is_text_everywhere() -> None:
    shown = preview(
        SHIPPED_LIBRARY, "email", Content("winback/hello", OCCASION), named("<script>alert(1)</script>")
    )
    assert "<script" not in shown.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown.html
    assert "Hello <script>alert(1)</script>, it has been a while" in shown.text
    assert shown.subject == "<script>alert(1)</script>, we kept your favourites"


def test_template_syntax_in_a_name_is_text() -> None:
    shown = preview(SHIPPED_LIBRARY, "email", Content("winback/hello", OCCASION), named("{{ 7 * 7 }}"))
    assert shown.subject == "{{ 7 * 7 }}, we kept your favourites"
    assert "{{ 7 * 7 }}" in shown.text
    assert "{{ 7 * 7 }}" in shown.html


def test_nobody_is_greeted_by_a_missing_name() -> None:
    shown = preview(SHIPPED_LIBRARY, "email", Content("winback/hello", OCCASION), NAMELESS)
    assert shown.subject == "We kept your favourites"
    assert "Hello, it has been a while" in shown.text
    assert "None" not in shown.html


def test_a_subject_is_one_line_without_controls(make_library: MakeLibrary) -> None:
    library = make_library({"t.email.mjml": mjml("<mj-text>x</mj-text>", "Hi\n {{ coupon }}\n & more\u202e")})
    assert preview(library, "email", Content("t", OCCASION), REGULAR).subject == "Hi WELCOME<10> & more"


def test_constants_in_expressions_are_escaped_too(make_library: MakeLibrary) -> None:
    library = make_library({"t.email.mjml": mjml("<mj-text>{{ '<b>' }}{{ '&' ~ coupon }}</mj-text>")})
    assert "&lt;b&gt;&amp;WELCOME&lt;10&gt;" in render_html(library)


def test_a_value_with_any_character_is_escaped(make_library: MakeLibrary) -> None:
    library = make_library(
        {"t.email.mjml": mjml("<mj-text>{{ history.last_order.status }}|{{ coupon }}</mj-text>")}
    )
    order = dataclasses.replace(REGULAR.history.orders[0], status="<\0>")
    person = Person(REGULAR.customer, dataclasses.replace(REGULAR.history, orders=(order,)))
    assert "&lt;\0&gt;|WELCOME&lt;10&gt;" in render_html(library, person)


# --- blocks ---------------------------------------------------------------------------------------


def test_a_block_can_print_its_layouts_and_stay_one_skeleton(make_library: MakeLibrary) -> None:
    library = make_library(
        {
            "t.email.mjml": mjml("{{ super() }}<mj-text>{{ self.subject() }}</mj-text>"),
        }
    )
    html = render_html(library, named("A&B"))
    assert "Dear A&amp;B Berg" in html
    assert ">Hello<" in html


def test_a_text_block_replaces_the_derived_text(make_library: MakeLibrary) -> None:
    library = make_library(
        {
            "t.email.mjml": mjml("<mj-text>x</mj-text>")
            + "{% block text %}Plain & {{ customer.first_name }}{% endblock %}",
        }
    )
    shown = preview(library, "email", Content("t", OCCASION), named("<A>"))
    assert shown.text == "Plain & <A>\n"


def test_text_is_derived_from_paragraphs_links_lists_and_images(make_library: MakeLibrary) -> None:
    library = make_library(
        {
            "t.email.mjml": mjml(
                '<mj-image src="a.png" alt="A mug" /><mj-text>One &amp;\n two<br/>three</mj-text>'
                "<mj-text><ul><li>first</li><li>{{ customer.first_name }}</li></ul></mj-text>"
                '<mj-button href="https://shop.example/?a=1&amp;b=2">Go</mj-button>'
                '<mj-text><a href="{{ links.unsubscribe }}">Leave</a> <a href="#top">up</a></mj-text>'
            ),
        }
    )
    assert preview(library, "email", Content("t", OCCASION), REGULAR).text == (
        "A mug\n\nOne & two\nthree\n\n- first\n- Anna\n\nGo: https://shop.example/?a=1&b=2\n\n"
        "Leave: https://example.invalid/u/sample up\n"
    )


def test_a_text_kind_is_not_escaped_and_has_no_html(make_library: MakeLibrary) -> None:
    library = make_library({"t.sms.txt": "Hi {{ customer.first_name }} & all\n"})
    shown = preview(library, "sms", Content("t", OCCASION), named("A<B"))
    assert (shown.subject, shown.html, shown.text) == ("", "", "Hi A<B & all")


# --- locales --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "file"),
    [
        ("ar-EG", "t.sms.ar-EG.txt"),
        ("AR_eg", "t.sms.ar-EG.txt"),
        ("ar-MA", "t.sms.ar.txt"),
        ("ar", "t.sms.ar.txt"),
        ("fr-CA", "t.sms.txt"),
        ("not a locale", "t.sms.txt"),
        ("../../etc/passwd", "t.sms.txt"),
        (None, "t.sms.txt"),
    ],
)
def test_the_best_locale_wins(make_library: MakeLibrary, locale: str | None, file: str) -> None:
    library = make_library(dict.fromkeys(("t.sms.txt", "t.sms.ar.txt", "t.sms.ar-EG.txt"), "x"))
    assert library.choose("t", "sms", locale).name == file


def test_dates_and_money_follow_the_customer_where_the_text_is_in_their_language() -> None:
    def text(locale: str) -> str:
        person = Person(dataclasses.replace(REGULAR.customer, locale=locale), REGULAR.history)
        return preview(SHIPPED_LIBRARY, "email", Content("winback/hello", OCCASION), person).text

    assert "14 March 2026: €67.90" in text("en-GB")
    assert "March 14, 2026: €67.90" in text("en-US")
    assert "14. März 2026: €\xa067,90" in text("de-AT")
    assert "March 14, 2026: €67.90" in text("pl")  # the letter is in English
    assert "١٤ مارس ٢٠٢٦: \u200f٦٧٫٩٠\xa0€" in text("ar-EG")


def test_a_time_is_a_day_in_the_customers_own_zone(make_library: MakeLibrary) -> None:
    order = dataclasses.replace(REGULAR.history.orders[0], placed_at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
    template = "{{ history.last_order.placed_at | date('medium') }} {{ history.last_order.placed_at | time }}"

    def text(zone: str) -> str:
        customer = dataclasses.replace(REGULAR.customer, timezone=zone)
        person = Person(customer, dataclasses.replace(REGULAR.history, orders=(order,)))
        return render_text(make_library, template, person)

    assert text("Asia/Tokyo") == "2 Mar 2026 08:30"
    assert text("America/New_York") == "1 Mar 2026 18:30"
    assert text("Mars/Olympus") == "1 Mar 2026 23:30"


def test_a_right_to_left_file_is_marked_so_and_mirrored() -> None:
    html = preview(SHIPPED_LIBRARY, "email", Content("winback/hello", OCCASION), ARABIC).html
    assert html.startswith('<!doctype html><html lang="ar" dir="rtl"')
    assert "text-align:right" in html
    assert "direction:ltr;display:inline-block" not in html


# --- filters and the sandbox ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ customer.city | or_('your city') }}", "Berlin"),
        ("{{ customer.attributes.plan | or_('free') }}", "free"),
        ("{{ customer.attributes.pet }}", "cat & dog"),
        ("{{ customer.attributes['shoe size'] }}", "43"),
        ("{{ customer.attributes.items }}", "three"),
        ("{{ 12345 | number }}", "12,345"),
        ("{{ 1 | plural(one='order', other='orders') }}", "order"),
        ("{{ 2 | plural(one='order', other='orders') }}", "orders"),
        ("{{ 'https://shop.example/a?b=c' | track }}", "https://shop.example/a?b=c"),
        ("{{ 'mailto:a@b.example' | track }}", "mailto:a@b.example"),
        ("{{ 'javascript:alert(1)' | track }}", "#"),
        ("{{ 'JaVaScRiPt:alert(1)' | track }}", "#"),
        ("{{ 'data:text/html,x' | track }}", "#"),
        ("{{ '//evil.example' | track }}", "#"),
        ("{{ 'https:///path' | track }}", "#"),
        ("{{ 'https://a b' | track }}", "#"),
        ("{{ 'http://[bad' | track }}", "#"),
        ("{{ customer.attributes.plan | track }}", "#"),
        ("{{ customer.attributes.plan | money }}", ""),
        ("{{ customer.name }}, {{ customer.language }}", "Anna Berg, en"),
        ("{{ history.average_order | money }}", "€49.95"),
        ("{{ customer.birthday | date('short') }}", "29/02/1988"),
    ],
)
def test_filters(make_library: MakeLibrary, template: str, text: str) -> None:
    attributes = Attributes('{"pet": "cat &\\n dog", "shoe size": 43, "items": "three"}')
    customer = dataclasses.replace(REGULAR.customer, attributes=attributes)
    assert render_text(make_library, template, Person(customer, REGULAR.history)) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ customr.name }}", "'customr' is undefined"),
        (
            "\n{{ customer.nickname }}",
            "'holdfast.audience.people.Customer object' has no attribute 'nickname'",
        ),
        ("{{ history.total_spent }}", "a Money is printed without a filter; write `| money`"),
        ("{{ history.last_order.placed_at }}", "a datetime is printed without a filter; write `| date`"),
        ("{{ history.last_order }}", "a value of type Order cannot be printed"),
        ("{{ customer.attributes._values }}", "has no attribute '_values'"),
        ("{{ customer.__class__ }}", "has no attribute '__class__'"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ customer.first_name | int + 'x' }}", "a TypeError"),
    ],
)
def test_what_cannot_be_rendered_names_file_line_and_reason_but_no_customer(
    make_library: MakeLibrary, template: str, reason: str
) -> None:
    with pytest.raises(RenderError) as caught:
        render_text(make_library, template)
    line = 2 if template.startswith("\n") else 1
    assert str(caught.value).startswith(f"templates/t.sms.txt:{line} cannot be rendered: ")
    assert str(caught.value).endswith(reason)
    assert "Anna" not in str(caught.value)


def test_broken_mjml_is_a_render_error_with_mjmls_words(make_library: MakeLibrary) -> None:
    library = make_library({"t.email.mjml": "<mjml><mj-body>"})
    with pytest.raises(RenderError) as caught:
        render_html(library)
    assert str(caught.value) == (
        "templates/t.email.mjml cannot be rendered: MJML: unexpected end of stream in root template"
    )


def test_a_template_without_a_file_says_which_to_add(make_library: MakeLibrary) -> None:
    with pytest.raises(RenderError) as caught:
        make_library({}).choose("winback/hello", "email", "ar-EG")
    assert str(caught.value) == "no template winback/hello for email and locale ar-EG"
    assert caught.value.hint == "add templates/winback/hello.email.mjml"


# --- messages -------------------------------------------------------------------------------------


@pytest.fixture
def signer() -> Signer:
    return Signer(b"0123456789abcdef")


def test_a_marketing_email_carries_signed_links_and_one_click_headers(signer: Signer) -> None:
    composer = Composer(SHIPPED_LIBRARY, signer, BRAND, TODAY)
    message = composer.compose(42, "email", "a@b.example", Content("winback/hello", OCCASION), REGULAR)
    url = f"https://r.acme.example/u/{signer.sign('unsubscribe', 42)}"
    assert message.headers == {
        "List-Unsubscribe": f"<{url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert f'href="{url}"' in message.html
    assert (
        f"https://r.acme.example/p/{signer.sign('preferences', 42, TODAY + timedelta(days=180))}"
        in message.text
    )
    assert signer.verify("message", message.key) == 42
    assert (message.to, message.to_name, message.sender) == ("a@b.example", "Anna Berg", BRAND.sender)


def test_a_transactional_email_has_no_unsubscribe_header(signer: Signer) -> None:
    occasion = Occasion(CampaignScope("thanks", "transactional"), StepScope("order"))
    message = Composer(SHIPPED_LIBRARY, signer, BRAND, TODAY).compose(
        1, "email", "a@b.example", Content("thanks/order", occasion), REGULAR
    )
    assert message.headers == {}
    assert "/u/" not in message.html


def test_an_invitation_stands_only_where_there_are_invitations(signer: Signer) -> None:
    occasion = Occasion(CampaignScope("thanks", "transactional"), StepScope("order"))
    content = Content("thanks/order", occasion)
    link = f"https://r.acme.example/r/{signer.sign('referral', 7)}"
    for refers in (True, False):
        composer = Composer(SHIPPED_LIBRARY, signer, BRAND, TODAY, refers=refers)
        message = composer.compose(7, "email", "a@b.example", content, REGULAR)
        assert (f'href="{link}"' in message.html, "/r/" in message.html) == (refers, refers)
        assert (link in message.text) is refers


def test_a_text_message_has_neither_sender_nor_headers(signer: Signer) -> None:
    message = Composer(SHIPPED_LIBRARY, signer, BRAND, TODAY).compose(
        1, "telegram", "4711", Content("winback/hello", OCCASION), REGULAR
    )
    assert (message.sender, message.subject, message.html, message.headers) == ("", "", "", {})
    assert message.text.startswith(
        "Anna, it has been a while.\n\nLast time, 14 March 2026, you chose:\n- 2 × Stone"
    )


def test_a_post_is_in_the_business_own_language_and_tracks_nobody(tmp_path: Path) -> None:
    (tmp_path / "shout.x.txt").write_text("Back at https://shop.example & {{ brand.name }}\n")
    (tmp_path / "shout.x.de.txt").write_text("Wieder da: {{ brand.name }}, {{ coupon | or_('-') }}\n")
    post = Post.model_validate({"id": "shout", "post": ["x"], "template": "shout"})
    campaign = Campaign.model_validate(
        {
            "campaign": "hello",
            "audience": {"country": "DE"},
            "steps": [{"id": "first", "channels": ["sms"], "template": "t"}],
        }
    )
    said = {
        locale: post_text(Library(tmp_path, Brand(), Business(locale=locale)), campaign, post, "x")
        for locale in ("en", "de-AT")
    }
    assert said == {"en": "Back at https://shop.example & Acme", "de-AT": "Wieder da: Acme, -"}
