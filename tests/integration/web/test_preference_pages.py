"""Topics, a rest, a language and the wish to be erased: what the page of preferences shows and changes."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from holdfast.responses import Contact, contact_of
from holdfast.store.imports import import_records
from holdfast.tables import consents, customers, erasures, messages
from tests.integration.conftest import SECRET, Clock
from tests.integration.web.conftest import MakeWeb, Web, on_sqlite
from tests.integration.web.test_pages import path, shown

TOPICS = {
    "offers": {"en": "Offers and vouchers", "de-AT": "Angebote"},
    "news": {"de": "Neuigkeiten", "fa": "تازه‌ها"},
}


@pytest.fixture
def web(make_web: MakeWeb) -> Web:
    return make_web(topics=TOPICS)


def contact(web: Web, message: int) -> Contact:
    return contact_of(web.bench.ws, message)


def imported(web: Web, **record: str) -> None:
    project, now = web.bench.ws.project, web.bench.clock()
    import_records(web.database, project, SECRET, "customers", [{"customer_id": "c1"} | record], now=now)


def erase_link(web: Web, message: int) -> str:
    [link] = re.findall(r'href="\.\.(/e/[^"]+)"', web.client.get(path(web, message, "p")).text)
    return str(link)


# --- topics ---------------------------------------------------------------------------------------


def test_topics_are_refused_and_wanted_again(web: Web) -> None:
    message = web.message()
    link = path(web, message, "p")
    page = web.client.get(link).text
    assert re.findall(r'name="topic" value="(\w+)" checked', page) == ["offers", "news"]
    page = web.client.post(link, data={"shown_topic": ["offers", "news"], "topic": "news"}).text
    assert re.findall(r'name="topic" value="(\w+)" checked', page) == ["news"]
    assert contact(web, message).refused == {"offers"}
    web.client.post(link, data={"shown_topic": ["offers", "news"], "topic": ["news", "offers"]})
    assert contact(web, message).refused == set()
    assert contact(web, message).granted == {"email", "sms"}


@on_sqlite
def test_only_topics_that_were_shown_can_be_refused(web: Web) -> None:
    message = web.message()
    for form in ({"shown_topic": ["x'--", "gone"]}, {"topic": "offers"}, {"shown": "offers"}):
        web.client.post(path(web, message, "p"), data=form)
    assert contact(web, message).refused == set()


@on_sqlite
@pytest.mark.parametrize(
    ("locale", "offers", "news"),
    [
        ("de-AT", "Angebote", "Neuigkeiten"),
        ("de", "Offers and vouchers", "Neuigkeiten"),
        ("fa", "Offers and vouchers", "تازه‌ها"),
        ("ar", "Offers and vouchers", "Neuigkeiten"),
    ],
)
def test_a_topic_is_called_in_the_pages_language_else_the_businesss_else_as_it_can(
    web: Web, locale: str, offers: str, news: str
) -> None:
    page = web.client.get(path(web, web.message(locale=locale), "p")).text
    assert re.findall(r'<span dir="auto">([^<]+)</span>', page) == [offers, news]


@on_sqlite
def test_without_topics_the_page_asks_for_none(make_web: MakeWeb) -> None:
    web = make_web()
    assert "hear about" not in shown(web.client.get(path(web, web.message(), "p")))


# --- a rest ---------------------------------------------------------------------------------------


@on_sqlite
def test_a_rest_begins_at_once_lasts_thirty_days_and_can_be_ended(web: Web, clock: Clock) -> None:
    message = web.message(locale="de", timezone="Asia/Tokyo")
    link = path(web, message, "p")
    clock.advance(hours=6)
    response = web.client.post(link, data={"pause": "start"})
    assert "bis zum 4. Juli 2026 keine Angebote" in shown(response)  # 18:00 UTC is the next day there
    assert contact(web, message).paused_until == clock.now + timedelta(days=30)
    until = contact(web, message).paused_until
    clock.advance(days=2)
    web.client.post(link, data={"pause": "start"})
    web.client.post(link, data={"shown": ["email", "sms"], "granted": ["email", "sms"]})
    assert contact(web, message).paused_until == until
    assert 'value="start"' in web.client.post(link, data={"pause": "end"}).text
    assert contact(web, message).paused_until is None


@on_sqlite
def test_a_rest_that_is_over_can_be_asked_for_again(web: Web, clock: Clock) -> None:
    message = web.message()
    link = path(web, message, "p")
    web.client.post(link, data={"pause": "start"})
    clock.advance(days=30)
    assert 'value="start"' in web.client.get(link).text
    web.client.post(link, data={"pause": "start"})
    assert contact(web, message).paused_until == clock.now + timedelta(days=30)
    web.client.post(link, data={"pause": "for ever'--"})
    assert contact(web, message).paused_until == clock.now + timedelta(days=30)


# --- language -------------------------------------------------------------------------------------


def test_a_language_that_is_chosen_is_read_at_once_and_no_import_overwrites_it(web: Web) -> None:
    message = web.message(locale="de-AT")
    link = path(web, message, "p")
    page = web.client.get(link).text
    assert re.findall(r'<option value="(\w+)" lang="\w+" dir="\w+" selected>(\w+)<', page) == [
        ("de", "Deutsch")
    ]
    response = web.client.post(link, data={"shown_language": "de", "language": "fa"})
    assert "تنظیمات شما ذخیره شد" in shown(response)
    assert contact(web, message).locale == "fa"
    for locale in ("de", "en"):
        imported(web, locale=locale, city=locale)
    with web.database.read() as connection:
        row = connection.execute(select(customers)).one()
    assert (row.locale, row.chosen_locale, row.city) == ("fa", "fa", "en")


@on_sqlite
def test_a_language_that_was_left_alone_or_is_none_of_the_pages_is_not_chosen(web: Web) -> None:
    message = web.message(locale="de-AT")
    for form in (
        {"shown_language": "de", "language": "de"},
        {"shown_language": "de", "language": "tlh"},
        {"language": "x'--"},
    ):
        web.client.post(path(web, message, "p"), data=form)
    assert contact(web, message).locale == "de-AT"
    with web.database.read() as connection:
        assert connection.scalar(select(customers.c.chosen_locale)) is None
    imported(web, locale="ar")
    assert contact(web, message).locale == "ar"


@on_sqlite
def test_languages_are_those_of_pages_and_templates_each_called_in_itself(
    make_web: MakeWeb, tmp_path: Path
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "note.sms.fr-CA.txt").write_text("{% block body %}Bonjour{% endblock %}")
    web = make_web()
    page = web.client.get(path(web, web.message(locale="fr"), "p")).text
    assert re.findall(r'<option value="[\w-]+" lang="([\w-]+)" dir="(\w+)"[^>]*>([^<]+)<', page) == [
        ("ar", "rtl", "العربية"),
        ("de", "ltr", "Deutsch"),
        ("en", "ltr", "English"),
        ("fa", "rtl", "فارسی"),
        ("fr-CA", "ltr", "Français (Canada)"),
    ]


# --- the wish to be erased --------------------------------------------------------------------------


def asked(web: Web) -> list[tuple[int, str]]:
    with web.database.read() as connection:
        rows = connection.execute(select(erasures.c.customer_id, erasures.c.asked_by, erasures.c.erased_at))
        return [(customer_id, by) for customer_id, by, erased_at in rows if erased_at is None]


def test_who_asks_to_be_erased_gets_no_more_marketing_and_the_rest_is_left_to_the_operator(web: Web) -> None:
    message = web.message(first_name="Ann")
    link = erase_link(web, message)
    page = shown(web.client.get(link))
    assert ("Erase your data?" in page, "Nobody can undo that" in page, asked(web)) == (True, True, [])
    for _ in range(2):
        assert "Your data will be erased" in shown(web.client.post(link))
    assert asked(web) == [(1, f"preferences page, message {message}")]
    assert contact(web, message).granted == set()
    with web.database.read() as connection:
        assert connection.scalar(select(customers.c.first_name)) == "Ann"
        words = connection.scalars(select(consents.c.evidence).order_by(consents.c.id)).all()
    assert words[2:] == ["asked to be erased"] * 2
    assert "You asked Acme on June 3, 2026 to erase your data" in shown(
        web.client.get(path(web, message, "p"))
    )


@on_sqlite
def test_the_wish_can_be_taken_back_until_it_is_done(web: Web) -> None:
    message = web.message()
    link = erase_link(web, message)
    web.client.post(link)
    assert "Your data is kept" in shown(web.client.post(link, data={"keep": "yes"}))
    assert asked(web) == []
    assert contact(web, message).granted == set()


@on_sqlite
def test_the_link_to_erase_is_of_that_page_alone_and_ends_with_the_next_day(web: Web, clock: Clock) -> None:
    message = web.message()
    link = erase_link(web, message)
    preferences = path(web, message, "p").replace("/p/", "/e/")
    for tried, status in ((preferences, 404), (link.replace("/e/", "/p/"), 404), (link[:-1], 404)):
        assert web.client.post(tried).status_code == status
    clock.advance(days=2)
    assert web.client.post(link).status_code == 410
    assert asked(web) == []


@on_sqlite
def test_pages_of_who_was_erased_say_so_and_change_nothing(web: Web) -> None:
    message = web.message()
    link = erase_link(web, message)
    web.client.post(link)
    with web.database.write() as connection:
        connection.execute(update(erasures).values(erased_at=web.bench.clock()))
    everything = {"shown": ["email"], "granted": ["email"], "pause": "start", "keep": "yes"}
    for tried in (link, path(web, message, "p"), path(web, message)):
        for method in ("GET", "POST"):
            response = web.client.request(method, tried, data=everything if method == "POST" else None)
            assert (response.status_code, "has been erased" in shown(response)) == (410, True)
    with web.database.read() as connection:
        assert connection.scalar(select(erasures.c.erased_at)) is not None
        assert connection.scalar(select(customers.c.paused_until)) is None
        assert connection.scalar(select(messages.c.unsubscribed_at)) is None
    assert contact(web, message) == Contact(erased=True)
