"""The pages of surveys: a question, and thanks for the answer, which can be changed there.

Looking at one answers nothing: a message's link may name an answer, and it is only chosen beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from holdfast import responses
from holdfast.delivery import Workspace
from holdfast.errors import StoreError
from holdfast.store.inbox import Inbox
from holdfast.surveys import LONGEST_COMMENT, SCALES, Survey
from holdfast.web.monitoring import OUR_LINKS, Intake, Outcome
from holdfast.web.pages import Form, Pages


def routes(
    ws: Workspace, clock: Callable[[], datetime], pages: Pages, inbox: Inbox, intake: Intake
) -> APIRouter:
    """GET and POST /s/nps/{token} and /s/csat/{token}."""
    router = APIRouter(include_in_schema=False)
    for survey in SCALES:
        _add(router, survey, ws, clock, pages, inbox, intake)
    return router


def _add(
    router: APIRouter,
    survey: Survey,
    ws: Workspace,
    clock: Callable[[], datetime],
    pages: Pages,
    inbox: Inbox,
    intake: Intake,
) -> None:
    path = f"/s/{survey}/{{token}}"

    @router.get(path)
    def ask(token: str, request: Request) -> Response:
        message_id = pages.message_of(survey, token)
        return page_of(request, message_id, _score(survey, request.query_params.get("answer")))

    @router.post(path)
    def take(token: str, request: Request, form: Form) -> Response:
        message_id = pages.message_of(survey, token)
        fields = dict(parse_qsl(form.decode("utf-8", "replace")))
        given = _score(survey, fields.get("answer"))
        comment = responses.comment(fields.get("comment", ""))
        if given is None:
            return page_of(request, message_id, None, comment, status=422)
        thanks = page_of(request, message_id, given, comment, answered=True)
        if thanks.status_code == 200:
            keep(message_id, responses.Answer(survey, given, comment))
        return thanks

    def keep(message_id: int, answer: responses.Answer) -> None:
        try:
            responses.answer(inbox, message_id, answer, clock())
        except (StoreError, SQLAlchemyError):
            intake.count(OUR_LINKS, Outcome.FAILED)
            raise
        intake.count(OUR_LINKS, Outcome.TAKEN)

    def page_of(
        request: Request,
        message_id: int,
        chosen: int | None,
        comment: str = "",
        *,
        status: int = 200,
        answered: bool = False,
    ) -> Response:
        contact = responses.contact_of(ws, message_id)
        if contact.erased:
            return pages.notice(request, "erased", 410)
        if not contact.exists:
            return pages.notice(request, "forged", 404)
        return pages.show(
            request,
            "survey",
            contact,
            status=status,
            survey=survey,
            scale=SCALES[survey],
            chosen=chosen,
            comment=comment,
            longest=LONGEST_COMMENT,
            wrong=status != 200,
            answered=answered,
        )


def _score(survey: Survey, text: str | None) -> int | None:
    """The answer as pages and links write it; None for what the survey does not take."""
    return next((score for score in SCALES[survey] if text == str(score)), None)
