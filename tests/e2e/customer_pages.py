"""A project behind its web app for the browser to visit, and every page for customers that there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page, Route
from sqlalchemy import insert, select

from holdfast.responses import contact_of
from holdfast.store.database import Database
from holdfast.surveys import Survey
from holdfast.tables import consents, inbox, metadata
from holdfast.web import create_app
from tests.integration.conftest import Bench, Clock, Shop, make_bench
from tests.servers.web_server import serving

LANGUAGES = ("en", "de", "ar", "fa")
RIGHT_TO_LEFT = ("ar", "fa")
TOPICS = {
    "offers": {"en": "Offers and vouchers", "de": "Angebote und Gutscheine", "ar": "العروض والقسائم"},
    "news": {"en": "What is new", "de": "Neuigkeiten", "ar": "جديدنا", "fa": "تازه‌ها"},
}
BRAND = {"name": "Acme Tea & Söhne", "postal_address": "1 High St, 10115 Berlin"}


@dataclass
class Site:
    """A project behind its web app, with a message to a customer of each language, and two letters to others
    that ask them to confirm a yes."""

    bench: Bench
    url: str
    messages: dict[str, int]
    letters: dict[str, list[int]]

    def link(self, page: str, locale: str = "en", until: date | None = None) -> str:
        """A page of the customer of this language."""
        purposes = {"u": "unsubscribe", "p": "preferences", "e": "erase", "r": "referral"}
        purpose: Any = purposes[page]
        return f"{self.url}/{page}/{self.bench.ws.signer.sign(purpose, self.messages[locale], until)}"

    def survey(self, name: Survey, locale: str = "en", answer: str = "") -> str:
        """The page of a survey, with an answer chosen beforehand."""
        token = self.bench.ws.signer.sign(name, self.messages[locale])
        return f"{self.url}/s/{name}/{token}" + (f"?answer={answer}" if answer else "")

    def letter(self, locale: str = "en", which: int = 0) -> str:
        """The link of the letter that asks a customer to confirm, in its last week."""
        letter = self.bench.messages(id=self.letters[locale][which])[0]
        until = datetime.now(UTC).date() + timedelta(days=7)
        token = self.bench.ws.signer.sign_confirmation(letter.id, f"telegram{letter.customer_id}", until)
        return f"{self.url}/y/{token}"

    def granted(self, locale: str = "en") -> set[str]:
        return {*contact_of(self.bench.ws, self.messages[locale]).granted}

    def answers(self) -> list[dict[str, Any]]:
        """What was answered to surveys, as it is kept."""
        with self.bench.ws.database.read() as connection:
            letters = [
                json.loads(body) for body in connection.scalars(select(inbox.c.body).order_by(inbox.c.id))
            ]
        return [letter for letter in letters if letter["kind"] == "answered"]


@contextmanager
def open_site(root: Path) -> Iterator[Site]:
    """Serves the project from this folder."""
    database = Database(root / "holdfast.db")
    metadata.create_all(database.engine)
    clock = Clock(datetime.now(UTC))
    shop = Shop(database, clock)
    referrals = {"url": "https://shop.example/welcome"}
    bench = make_bench(database, shop, clock, root, brand=BRAND, topics=TOPICS, referrals=referrals)
    for locale in LANGUAGES:
        shop.customers(1, kinds=("sms", "email", "telegram"), locale=locale)
    bench.campaign(send={"prefer": "customer"})
    bench.run()
    messages = {locale: row.id for locale, row in zip(LANGUAGES, bench.messages(), strict=True)}
    letters = _letters(bench)
    with serving(create_app(bench.ws, lambda: datetime.now(UTC))) as url:
        yield Site(bench, url, messages, letters)
    database.close()


def _letters(bench: Bench) -> dict[str, list[int]]:
    """Letters to customers of each language who are to confirm a yes, by the channel that is at hand."""
    bench.edit("ask.telegram.txt", "{% block body %}{{ links.confirm }}{% endblock %}")
    steps = [{"id": "ask", "channels": ["telegram"], "template": "ask"}]
    bench.campaign("confirm", purpose="confirmation", steps=steps)
    ids = {
        locale: bench.shop.customers(2, kinds=("telegram",), consent=None, locale=locale)
        for locale in LANGUAGES
    }
    with bench.ws.database.write() as connection:
        said = {
            "kind": "telegram",
            "purpose": "marketing",
            "granted": False,
            "pending": True,
            "evidence": "test",
        }
        rows = [
            {"customer_id": id_, "recorded_at": bench.clock.now, **said}
            for both in ids.values()
            for id_ in both
        ]
        connection.execute(insert(consents), rows)
    bench.clock.advance(seconds=1)
    bench.run("confirm", "c1")
    of_customer = {
        row.customer_id: row.id for row in bench.messages(purpose="confirmation", state="accepted")
    }
    return {locale: [of_customer[id_] for id_ in both] for locale, both in ids.items()}


@dataclass(frozen=True)
class Sight:
    """A page as a customer gets to see it: its template, its address, and the form that is posted there."""

    template: str
    address: Callable[[Site, str], str]
    form: Mapping[str, str] | None = None

    def visit(self, page: Page, site: Site, locale: str) -> None:
        """Goes there, as the customer of this language."""
        address = self.address(site, locale)
        if self.form is None:
            page.goto(address)
            return
        posted = urlencode(self.form)

        def post(route: Route) -> None:
            headers = {**route.request.headers, "content-type": "application/x-www-form-urlencoded"}
            route.continue_(method="POST", post_data=posted, headers=headers)

        page.route(address, post)
        page.goto(address)
        page.unroute(address)


def _page(name: str) -> Callable[[Site, str], str]:
    return lambda site, locale: site.link(name, locale)


SIGHTS = {
    "unsubscribe": Sight("unsubscribe.html", _page("u")),
    "unsubscribed": Sight("unsubscribed.html", _page("u"), {}),
    "preferences": Sight("preferences.html", _page("p")),
    "preferences saved": Sight("preferences.html", _page("p"), {"shown": "email", "pause": "start"}),
    "erase": Sight("erase.html", _page("e")),
    "erasing": Sight("erase.html", _page("e"), {}),
    "kept": Sight("preferences.html", _page("e"), {"keep": "yes"}),
    "confirm": Sight("confirm.html", lambda site, locale: site.letter(locale)),
    "confirmed": Sight("confirmed.html", lambda site, locale: site.letter(locale, 1), {}),
    "survey": Sight("survey.html", lambda site, locale: site.survey("nps", locale)),
    "survey, chosen": Sight("survey.html", lambda site, locale: site.survey("csat", locale, "4")),
    "survey, nothing chosen": Sight(
        "survey.html", lambda site, locale: site.survey("nps", locale), {"comment": "Tea"}
    ),
    "survey answered": Sight(
        "survey.html", lambda site, locale: site.survey("nps", locale), {"answer": "9", "comment": "Tea"}
    ),
    "referral": Sight("referral.html", _page("r")),
    "forged": Sight("notice.html", lambda site, locale: f"{site.url}/u/forged"),
    "too old": Sight("notice.html", lambda site, locale: site.link("u", locale, date(2026, 1, 1))),
}
"""Every page for customers. A template without a sight is one that no test has looked at."""
