"""What providers tell us: verified, kept as it came, read later by `collect_responses`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from holdfast.channel import Challenger, Condenser, Receiver
from holdfast.delivery import Workspace
from holdfast.errors import AnswerRefused
from holdfast.store.inbox import Inbox
from holdfast.web.bodies import read_body
from holdfast.web.monitoring import Intake, Outcome

LARGEST_BODY = 5_000_000  # bytes
_STATUS = {Outcome.TAKEN: 204, Outcome.REPEATED: 204, Outcome.REFUSED: 403, Outcome.UNKNOWN: 404}

_log = logging.getLogger(__name__)


def routes(ws: Workspace, clock: Callable[[], datetime], inbox: Inbox, intake: Intake) -> APIRouter:
    """POST /webhooks/{channel}, and GET for providers that ask first."""
    router = APIRouter(include_in_schema=False)
    receivers: dict[str, Receiver | None] = {}

    @router.post("/webhooks/{channel}")
    async def webhook(channel: str, request: Request) -> Response:
        outcome = Outcome.FAILED
        try:
            receiver, headers = await receiver_of(channel), dict(request.headers)
            body = await read_body(request, _room_for(receiver, headers))
            if receiver is None:
                outcome = Outcome.UNKNOWN
            else:
                outcome = await run_in_threadpool(take, channel, receiver, headers, body)
        except HTTPException:
            outcome = Outcome.TOO_LARGE
            raise
        finally:
            intake.count(channel, outcome)
        return Response(status_code=_STATUS[outcome])

    @router.get("/webhooks/{channel}")
    def challenge(channel: str, request: Request) -> Response:
        asked = ws.channel(channel) if channel in ws.project.channels else None
        if not isinstance(asked, Challenger):
            return Response(status_code=404)
        answer = asked.challenge(request.query_params)
        if answer is None:
            _log.warning("a webhook of %s was asked for, without its secret", channel)
            return Response(status_code=403)
        # What is given back came with the request: nobody is to take it for a page.
        return PlainTextResponse(answer, headers={"X-Content-Type-Options": "nosniff"})

    async def receiver_of(name: str) -> Receiver | None:
        """None: no channel of this name takes answers."""
        if name not in receivers and name in ws.project.channels:
            # To open it takes a while, and is done once.
            channel = await run_in_threadpool(ws.channel, name)
            receivers[name] = channel if isinstance(channel, Receiver) else None
        return receivers.get(name)

    def take(name: str, receiver: Receiver, headers: Mapping[str, str], body: bytes) -> Outcome:
        now = clock()
        try:
            receiver.verify(headers, body, now)
        except AnswerRefused as why:
            _log.warning("a webhook of %s was refused: %s; %s", name, why, why.hint)
            return Outcome.REFUSED
        # Only after this may the provider forget it: a database that is down ends in 503.
        is_new = inbox.put(name, _kept(receiver, body), now)
        return Outcome.TAKEN if is_new else Outcome.REPEATED

    return router


def _room_for(receiver: Receiver | None, headers: Mapping[str, str]) -> int:
    room = receiver.room_for(headers) if isinstance(receiver, Condenser) else None
    return LARGEST_BODY if room is None else room


def _kept(receiver: Receiver, body: bytes) -> bytes:
    if isinstance(receiver, Condenser):
        with suppress(ValueError):  # what cannot be read is kept for people to look at
            return receiver.condensed(body)
    return body[:LARGEST_BODY]
