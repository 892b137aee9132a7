"""The web app: webhooks, links and pixels of messages, pages for customers, ingestion.

`python -m uvicorn --factory holdfast.web:app` serves the project in HOLDFAST_PROJECT.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from sqlalchemy import literal, select
from sqlalchemy.exc import SQLAlchemyError

from holdfast.delivery import Workspace
from holdfast.errors import HoldfastError
from holdfast.orchestration.redaction import protect_logs
from holdfast.settings import ReadBlock, access_tokens
from holdfast.store.inbox import Inbox
from holdfast.tokens import TokenForged
from holdfast.web import cases, ingestion, links, monitoring, pages, preferences, surveys, webhooks
from holdfast.web.bearer import Access
from holdfast.web.pages import LinkOver, Pages
from holdfast.wiring import open_workspace

__all__ = ["app", "create_app"]

_TRY_AGAIN_AFTER = 30  # seconds
_log = logging.getLogger(__name__)


def app() -> FastAPI:
    """The app of the project that HOLDFAST_PROJECT names: what uvicorn is told to serve."""
    try:
        served = create_app(
            open_workspace(Path(os.environ.get("HOLDFAST_PROJECT", ".")).resolve(), read_block),
            lambda: datetime.now(UTC),
        )
    except HoldfastError as error:
        raise SystemExit(f"{error}\n{error.hint}".rstrip()) from None
    protect_logs()
    # Its lines hold paths, and the tokens in ours act for customers.
    logging.getLogger("uvicorn.access").disabled = True
    return served


def read_block(name: str) -> str:
    """The value of a Prefect Secret block; Prefect, slow to import, is imported only now."""
    from holdfast.orchestration import blocks

    return blocks.read_block(name)


def create_app(ws: Workspace, clock: Callable[[], datetime], read_block: ReadBlock = read_block) -> FastAPI:
    """The app for a project. Raises SettingsError where a token that it names, or a text, is missing."""
    shown = Pages(ws, clock)
    served = FastAPI(
        title="Holdfast ingestion", openapi_url="/api/openapi.json", docs_url=None, redoc_url=None
    )
    inbox, registry = Inbox(ws.database), CollectorRegistry()
    intake = monitoring.Intake(ws.project.channels, registry)
    access = Access(access_tokens(ws.project, read_block))
    served.include_router(webhooks.routes(ws, clock, inbox, intake))
    served.include_router(links.routes(ws, clock, shown, inbox, intake))
    served.include_router(pages.routes(ws, clock, shown))
    served.include_router(preferences.routes(ws, clock, shown))
    served.include_router(surveys.routes(ws, clock, shown, inbox, intake))
    served.include_router(ingestion.routes(ws, clock, access))
    served.include_router(cases.routes(ws, clock, access))
    served.include_router(monitoring.routes(ws, clock, registry, access))

    @served.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        with ws.database.read() as connection:
            connection.execute(select(literal(1)))
        return {"status": "ok"}

    @served.exception_handler(TokenForged)
    def not_found(request: Request, error: TokenForged) -> Response:
        return shown.notice(request, "forged", 404)

    @served.exception_handler(LinkOver)
    def gone(request: Request, error: LinkOver) -> Response:
        return shown.notice(request, "expired", 410, error.message_id)

    def unavailable(request: Request, error: Exception) -> Response:
        # A foreign exception's text may hold customers' data.
        _log.error("%s", error if isinstance(error, HoldfastError) else type(error).__name__)
        headers = {"Retry-After": str(_TRY_AGAIN_AFTER)}
        if "text/html" in request.headers.get("accept", ""):
            return shown.notice(request, "unavailable", 503, headers=headers)
        return JSONResponse({"status": "unavailable"}, 503, headers)

    for failure in (HoldfastError, SQLAlchemyError, Exception):
        served.add_exception_handler(failure, unavailable)
    return served
