"""What stands in messages: tracked links, which lead on to where our templates point, the open pixel, and
invitations that customers pass on."""

from __future__ import annotations

import base64
import json
import logging
import re
import secrets
from collections.abc import Callable
from datetime import datetime

from anyio import move_on_after, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.exc import SQLAlchemyError

from holdfast.delivery import Workspace
from holdfast.errors import StoreError
from holdfast.responses import Contact
from holdfast.store.inbox import Inbox
from holdfast.tables import to_microseconds
from holdfast.tokens import TokenForged
from holdfast.web.monitoring import OUR_LINKS, Intake, Outcome
from holdfast.web.pages import LinkOver, Pages

# The database may be slow or gone; the customer is on the way all the same.
_PATIENCE = 2.0  # seconds
_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
# Gateways that look at links before people do, previews of chat programs, and programs that say what they
# are. (Cubot is a make of phones.)
_SCANNER = re.compile(
    r"(?<!cu)bot\b|crawl|spider|preview|scan|proofpoint|barracuda|mimecast|trendmicro|symantec|fortinet"
    r"|facebookexternalhit|whatsapp|headless|curl|wget|python|java/|okhttp|go-http-client|axios|libwww",
    re.IGNORECASE,
)

_log = logging.getLogger(__name__)


def machine_reason(method: str, user_agent: str) -> str:
    """Why a machine is taken to have made the request: a word, or '' for a person."""
    if method == "HEAD":
        return "head_request"
    if user_agent.strip() == "Mozilla/5.0":
        return "mail_proxy"  # Apple's, which fetches every image and says no more than this
    if not user_agent.strip() or _SCANNER.search(user_agent):
        return "scanner"
    return ""


def routes(
    ws: Workspace, clock: Callable[[], datetime], pages: Pages, inbox: Inbox, intake: Intake
) -> APIRouter:
    """GET and HEAD /c/{track}/{link}, /o/{track}.gif and /r/{code}."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/c/{track}/{link}", methods=["GET", "HEAD"])
    async def click(track: str, link: str, request: Request) -> Response:
        message_id, url = pages.message_of("track", track), ws.signer.verify_link(link)
        await record("clicked", message_id, request, url)
        return RedirectResponse(url, 302, _PRIVATE)

    @router.api_route("/o/{track}.gif", methods=["GET", "HEAD"])
    async def pixel(track: str, request: Request) -> Response:
        try:
            message_id = pages.message_of("track", track)
        except (TokenForged, LinkOver):
            return Response(_GIF, 404, _PRIVATE, "image/gif")
        await record("opened", message_id, request)
        return Response(_GIF, 200, _PRIVATE, "image/gif")

    @router.api_route("/r/{code}", methods=["GET", "HEAD"])
    async def invitation(code: str, request: Request) -> Response:
        message_id = pages.message_of("referral", code)
        if ws.project.referrals is None:
            return pages.notice(request, "forged", 404)
        await record("referred", message_id, request)
        # For whoever comes, of whom we know nothing; of who invited them it tells nothing.
        return pages.show(request, "referral", Contact(), shop=ws.project.referrals.address(code))

    async def record(kind: str, message_id: int, request: Request, url: str = "") -> None:
        now = clock()
        answer = {
            "kind": kind,
            "message": message_id,
            "at": to_microseconds(now),
            "url": url,
            "machine": machine_reason(request.method, request.headers.get("user-agent", "")),
            "event": secrets.token_hex(16),
        }
        with move_on_after(_PATIENCE) as waiting:
            await to_thread.run_sync(keep, kind, json.dumps(answer).encode(), now, abandon_on_cancel=True)
        if waiting.cancelled_caught:
            _log.warning("the database did not take in time that a message was %s", kind)

    def keep(kind: str, body: bytes, now: datetime) -> None:
        try:
            inbox.put(None, body, now)
            intake.count(OUR_LINKS, Outcome.TAKEN)
        except (StoreError, SQLAlchemyError) as error:
            intake.count(OUR_LINKS, Outcome.FAILED)
            _log.warning("lost that a message was %s: %s", kind, type(error).__name__)

    return router
