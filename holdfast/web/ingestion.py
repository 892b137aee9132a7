"""Customers, orders, lines, refunds and events from other systems, as JSON, by the rules of the import."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from holdfast.delivery import Workspace
from holdfast.store.imports import COLUMNS, Kind, import_records
from holdfast.web.bearer import Access
from holdfast.web.bodies import read_body

LARGEST_BODY = 20_000_000  # bytes
MOST_RECORDS = 10_000


class Rejected(BaseModel):
    """A record that was not kept."""

    index: int = Field(description="Its place in the list, from 0.")
    reason: str


class Ingested(BaseModel):
    """What became of the records: `read` is `kept` and the rejected."""

    read: int
    kept: int
    written: int = Field(description="Rows inserted, updated or removed; 0: nothing new was said.")
    rejected: list[Rejected]


class Refused(BaseModel):
    """Why nothing of the request was taken."""

    detail: str


class Unavailable(BaseModel):
    """The database does not answer: send it again after the seconds of `Retry-After`."""

    status: Literal["unavailable"]


_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refused, "description": "Not JSON, or not a list of objects."},
    401: {"model": Refused, "description": "No token, or another one."},
    403: {"model": Refused, "description": "The token has not the scope that is needed, or none has it."},
    413: {"model": Refused, "description": "Too much at once."},
    503: {"model": Unavailable, "description": "The database does not answer; send it again later."},
}


def routes(ws: Workspace, clock: Callable[[], datetime], access: Access) -> APIRouter:
    """POST /api/customers, /api/orders, /api/lines, /api/refunds and /api/events."""

    async def ingest(kind: Kind, request: Request) -> Ingested:
        return await run_in_threadpool(take, kind, await read_body(request, LARGEST_BODY))

    def take(kind: Kind, body: bytes) -> Ingested:
        records = _records(body)
        report = import_records(
            ws.database,
            ws.project,
            ws.secret,
            kind,
            records,
            now=clock(),
            source="api",
            signer=ws.signer,
        )
        return Ingested(
            read=report.read,
            kept=report.kept,
            written=report.written,
            rejected=[Rejected(index=number - 1, reason=reason) for number, reason in report.refused],
        )

    router = APIRouter(prefix="/api")
    for kind, columns in COLUMNS.items():
        router.add_api_route(
            f"/{kind}",
            partial(ingest, kind),
            methods=["POST"],
            name=kind,
            description=f"Takes {kind} in; a record that is there already is brought up to date. "
            f"For tokens with the scope `{kind}`.",
            dependencies=[Depends(access.requires(kind))],
            response_model=Ingested,
            responses=_ANSWERS,
            openapi_extra={"requestBody": _described(columns)},
        )
    return router


def _described(columns: Iterable[str]) -> dict[str, Any]:
    """The body of a request, for OpenAPI."""
    record = {"type": "object", "properties": {name: {} for name in columns}}
    records = {"type": "array", "maxItems": MOST_RECORDS, "items": record}
    return {"required": True, "content": {"application/json": {"schema": records}}}


def _records(body: bytes) -> list[Mapping[str, Any]]:
    try:
        records = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise HTTPException(400, "the body is not a list of objects")
    if len(records) > MOST_RECORDS:
        raise HTTPException(413, f"{len(records):,} records; at most {MOST_RECORDS:,} are taken at once")
    return records
