"""Pages for customers: unsubscribing, confirming, and what is said when a link does not work.

A link's token is all the right there is: no cookies, no accounts. GET never changes anything, because
scanners follow every link of an email.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.exc import SQLAlchemyError

from holdfast import responses
from holdfast.content.library import locale_chain
from holdfast.content.scope import BrandScope
from holdfast.delivery import Workspace
from holdfast.errors import HoldfastError, StoreError
from holdfast.responses import Contact
from holdfast.tokens import Purpose, TokenExpired
from holdfast.web.bodies import read_body
from holdfast.web.wording import SHIPPED, Languages, Wording

_LARGEST_FORM = 64_000  # bytes
# How long the way from the page of unsubscribing to the preferences is open.
_PREFERENCES_OPEN = timedelta(days=30)
# What a mail program posts for the customer (RFC 8058), whichever way it encodes the form.
_ONE_CLICK = b"One-Click"


class LinkOver(HoldfastError):
    """A link of ours whose last day is over, in the message `message_id`."""

    def __init__(self, message_id: int) -> None:
        super().__init__("this link is too old")
        self.message_id = message_id


class Pages:
    """Shows the pages of a project. Safe to share between threads."""

    def __init__(self, ws: Workspace, clock: Callable[[], datetime]) -> None:
        """Raises SettingsError for texts of the project that cannot be read."""
        self._ws, self._clock = ws, clock
        own = ws.project.root / "templates" / "pages"
        self._languages = Languages(own, ws.project.business.locale)
        self.tongues = self._languages.tongues(ws.library.languages)
        self._templates = Environment(
            loader=FileSystemLoader([own, SHIPPED]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        brand = BrandScope.of(ws.project.brand)
        style = self._templates.get_template("style.css").render(light=brand.light, dark=brand.dark)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
        self._templates.globals |= {"style": style, "brand": brand}
        self._headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": (
                f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
                "frame-ancestors 'none'"
            ),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Robots-Tag": "noindex",
        }

    def message_of(self, purpose: Purpose, token: str) -> int:
        """The message that a link stands for. Raises TokenForged, and LinkOver after the link's last day."""
        try:
            return self._ws.signer.verify(purpose, token, self._clock().date())
        except TokenExpired:
            raise LinkOver(self._ws.signer.verify(purpose, token)) from None

    def confirmation_of(self, token: str) -> tuple[int, str]:
        """The letter that a link confirms, and the mark of its address. Raises as `message_of` does."""
        try:
            return self._ws.signer.verify_confirmation(token, self._clock().date())
        except TokenExpired:
            message_id, _ = self._ws.signer.verify_confirmation(token)
            raise LinkOver(message_id) from None

    def show(
        self,
        request: Request,
        page: str,
        contact: Contact,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """A page in the contact's language; who is not known reads in the browser's."""
        browser = request.headers.get("accept-language", "").partition(",")[0].partition(";")[0]
        wording = self._languages.best([contact.locale, browser.strip()])
        text = self._templates.get_template(f"{page}.html").render(
            words=wording.texts,
            kind_name=wording.kind,
            number=wording.number,
            label=partial(self._languages.label, locales=[contact.locale, wording.locale]),
            date=wording.formats(contact.zone).date,
            tongues=self.tongues.values(),
            tongue=self._tongue(contact, wording),
            locale=wording.locale,
            direction=wording.direction,
            contact=contact,
            **values,
        )
        return HTMLResponse(text, status, {**self._headers, **(headers or {})})

    def of_message(self, request: Request, page: str, message_id: int, **values: Any) -> Response:
        """A page for the customer of a message, with a way to their preferences."""
        contact = responses.contact_of(self._ws, message_id)
        if contact.erased:
            return self.notice(request, "erased", 410)
        if not contact.exists:
            return self.notice(request, "forged", 404)
        last_day = (self._clock() + _PREFERENCES_OPEN).date()
        preferences = self._ws.signer.sign("preferences", message_id, last_day)
        return self.show(request, page, contact, preferences=preferences, **values)

    def notice(
        self,
        request: Request,
        what: str,
        status: int,
        message_id: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A page that says one thing: `forged`, `expired`, `over`, `erased` or `unavailable`."""
        contact = Contact() if message_id is None else self._known(message_id)
        return self.show(request, "notice", contact, status=status, headers=headers, what=what)

    def _tongue(self, contact: Contact, wording: Wording) -> str:
        """The tag of the language that the customer has, of those they may choose."""
        return next((tag for tag in locale_chain(contact.locale) if tag in self.tongues), wording.locale)

    def _known(self, message_id: int) -> Contact:
        try:
            return responses.contact_of(self._ws, message_id)
        except (StoreError, SQLAlchemyError):
            return Contact()


async def _form(request: Request) -> bytes:
    return await read_body(request, _LARGEST_FORM)


Form = Annotated[bytes, Depends(_form)]


def routes(ws: Workspace, clock: Callable[[], datetime], pages: Pages) -> APIRouter:
    """GET and POST /u/{token} and /y/{token}."""
    router = APIRouter(include_in_schema=False)

    @router.get("/u/{token}")
    def ask_to_unsubscribe(token: str, request: Request) -> Response:
        message_id = pages.message_of("unsubscribe", token)
        return pages.of_message(request, "unsubscribe", message_id)

    @router.post("/u/{token}")
    def unsubscribe(token: str, request: Request, form: Form) -> Response:
        message_id = pages.message_of("unsubscribe", token)
        evidence = "one-click" if _ONE_CLICK in form else "unsubscribe page"
        responses.unsubscribe(ws, message_id, None, evidence, clock())
        return pages.of_message(request, "unsubscribed", message_id)

    @router.get("/y/{token}")
    def ask_to_confirm(token: str, request: Request) -> Response:
        message_id, mark = pages.confirmation_of(token)
        return answer(request, message_id, responses.asked(ws, message_id, mark))

    @router.post("/y/{token}")
    def confirm(token: str, request: Request, form: Form) -> Response:
        message_id, mark = pages.confirmation_of(token)
        return answer(request, message_id, responses.confirm(ws, message_id, mark, clock()))

    def answer(request: Request, message_id: int, state: responses.Asked) -> Response:
        if state == "waits":
            return pages.of_message(request, "confirm", message_id)
        if state == "confirmed":
            return pages.of_message(request, "confirmed", message_id)
        return pages.notice(request, "over", 410, message_id)

    return router
