"""The preference centre: by which ways and about what a customer is written to, in which language, a rest,
and the wish to be erased. What is chosen is in force at once; erasing is for the operator to do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from holdfast import responses
from holdfast.delivery import Workspace
from holdfast.responses import Choices, Contact
from holdfast.web.pages import Form, Pages

_EVIDENCE = "preferences page"
# How long the way from the preferences to the page of erasing is open.
_ERASE_OPEN = timedelta(days=1)

Fields = dict[str, list[str]]
Said = Literal["saved", "kept"]
"""What was done, for the page to say."""


def routes(ws: Workspace, clock: Callable[[], datetime], pages: Pages) -> APIRouter:
    """GET and POST /p/{token} and /e/{token}."""
    router = APIRouter(include_in_schema=False)

    @router.get("/p/{token}")
    def show_preferences(token: str, request: Request) -> Response:
        return preferences(request, pages.message_of("preferences", token))

    @router.post("/p/{token}")
    def save_preferences(token: str, request: Request, form: Form) -> Response:
        message_id = pages.message_of("preferences", token)
        chosen = _chosen(_read(form), responses.contact_of(ws, message_id), {*ws.project.topics}, pages)
        responses.save(ws, message_id, chosen, _EVIDENCE, clock())
        return preferences(request, message_id, "saved")

    @router.get("/e/{token}")
    def ask_to_erase(token: str, request: Request) -> Response:
        return erasing(request, pages.message_of("erase", token))

    @router.post("/e/{token}")
    def erase(token: str, request: Request, form: Form) -> Response:
        message_id = pages.message_of("erase", token)
        if "keep" in _read(form):
            responses.keep_after_all(ws, message_id)
            return preferences(request, message_id, "kept")
        responses.ask_to_be_erased(ws, message_id, clock())
        return erasing(request, message_id)

    def preferences(request: Request, message_id: int, said: Said | None = None) -> Response:
        now = clock()
        until = (now + _ERASE_OPEN).date()
        return pages.of_message(
            request,
            "preferences",
            message_id,
            said=said,
            topics=ws.project.topics,
            now=now,
            erase=ws.signer.sign("erase", message_id, until),
        )

    def erasing(request: Request, message_id: int) -> Response:
        return pages.of_message(request, "erase", message_id)

    return router


def _read(form: bytes) -> Fields:
    return parse_qs(form.decode("utf-8", "replace"), keep_blank_values=True)


def _chosen(fields: Fields, contact: Contact, topics: set[str], pages: Pages) -> Choices:
    """What the form says, of what the page showed: an unchecked box sends nothing, and neither does one that
    was not there; a language that was only left alone was not chosen."""

    def checked(box: str, shown: str, there: set[str]) -> dict[str, bool]:
        return {
            name: name in fields.get(box, []) for name in sorted(there.intersection(fields.get(shown, [])))
        }

    def first(name: str) -> str | None:
        return next(iter(fields.get(name, [])), None)

    preferred, language, pause = first("preferred"), first("language"), first("pause")
    return Choices(
        kinds=checked("granted", "shown", {*contact.kinds}),
        topics=checked("topic", "shown_topic", topics),
        preferred=preferred if contact.may_prefer and preferred in (*contact.kinds, "") else None,
        locale=language if language in pages.tongues and language != first("shown_language") else None,
        pause="start" if pause == "start" else "end" if pause == "end" else None,
    )
