"""Complaints for other systems, as JSON: a helpdesk lists cases, answers and closes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from holdfast.audience.complaints import CaseReason
from holdfast.delivery import Workspace
from holdfast.errors import CaseError, CaseUnknown
from holdfast.responses import cases as casework
from holdfast.responses.cases import LONGEST_TEXT
from holdfast.store.casework import Case
from holdfast.web.bearer import Access
from holdfast.web.bodies import read_body
from holdfast.web.ingestion import Refused, Unavailable

AT_ONCE = 200
_LARGEST_BODY = 100_000  # bytes
_LARGEST_ID = 2**63 - 1


class CaseShown(BaseModel):
    """A case."""

    id: int
    customer_id: str | None = Field(description="As imported; null: somebody whom we do not know.")
    reason: CaseReason
    channel: str = Field(description="Where the complaint came from; empty: our own pages, or by hand.")
    opened_at: datetime
    waiting_since: datetime | None = Field(description="When they said what is not answered yet.")
    answered_at: datetime | None = Field(description="When they were first answered.")
    closed_at: datetime | None
    reopened: int = Field(description="How often it was opened again.")


class TurnShown(BaseModel):
    """One thing that was said or done."""

    at: datetime
    side: str = Field(description="`customer` or `us`.")
    what: str = Field(description="A kind of response, `sent`, or what was done about the case.")
    channel: str | None
    text: str | None
    survey: str | None
    score: int | None
    campaign: str | None
    step: str | None
    who: str | None = Field(description="Who of us did it.")
    case_id: int | None = Field(description="The case that it belongs to.")


class CaseFile(CaseShown):
    """A case with its conversation, the earliest first, from a month before it was opened on."""

    turns: list[TurnShown]


Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_TEXT)]
_Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class Said(BaseModel):
    """What was done about a case."""

    text: Words = Field(description="What the customer was told, what is to be known, or why.")
    who: _Who = Field(description="Who did it, for the record.")


class Opening(Said):
    """A case to be opened by hand."""

    customer_id: str = Field(description="As imported.", max_length=1000)


_Id = Annotated[int, Path(ge=1, le=_LARGEST_ID)]
_Body = TypeVar("_Body", bound=BaseModel)
_Answers = dict[int | str, dict[str, Any]]

_ANSWERS: _Answers = {
    401: {"model": Refused, "description": "No token, or another one."},
    403: {"model": Refused, "description": "The token has not the scope that is needed, or none has it."},
    503: {"model": Unavailable, "description": "The database does not answer; send it again later."},
}
_WRITING: _Answers = {
    400: {"model": Refused, "description": "Not JSON of this form."},
    404: {"model": Refused, "description": "There is no such case, or customer."},
    409: {"model": Refused, "description": "The case is closed; or the customer has an open one."},
    413: {"model": Refused, "description": "Too much."},
}


def routes(ws: Workspace, clock: Callable[[], datetime], access: Access) -> APIRouter:
    """GET and POST /api/cases, and what is done about one of them."""
    router = APIRouter(
        prefix="/api/cases", dependencies=[Depends(access.requires("cases"))], responses=_ANSWERS
    )

    @router.get("", name="list cases")
    def list_cases(
        open: Annotated[bool, Query(description="Only those that are open.")] = True,
        after_id: Annotated[int, Query(ge=0, le=_LARGEST_ID, description="Only later ones.")] = 0,
    ) -> list[CaseShown]:
        """Up to 200 cases in the order of their ids; ask on with the last one's. All that begins with
        /api/cases is for tokens with the scope `cases`."""
        found = casework.list_cases(ws, open_only=open, after_id=after_id, most=AT_ONCE)
        return [_shown(case) for case in found]

    @router.get("/{case_id}", name="show a case", responses={404: _WRITING[404]})
    def show_case(case_id: _Id) -> CaseFile:
        """A case, with all that was said and done."""
        try:
            file = casework.show_case(ws, case_id, clock())
        except CaseUnknown as error:
            raise HTTPException(404, str(error)) from None
        turns = [TurnShown.model_validate(turn, from_attributes=True) for turn in file.turns]
        return CaseFile(**_shown(file.case).model_dump(), turns=turns)

    @router.post("", name="open a case", status_code=201, responses=_WRITING, openapi_extra=_body(Opening))
    async def open_case(request: Request) -> CaseShown:
        """Opens a case by hand. One that was closed a short while ago is opened again."""
        opening = await _read(request, Opening)
        return await _done(casework.open_case, ws, opening.customer_id, opening.text, opening.who, clock())

    def add(path: str, step: Callable[..., Case], says: str) -> None:
        async def do(case_id: _Id, request: Request) -> CaseShown:
            said = await _read(request, Said)
            return await _done(step, ws, case_id, said.text, said.who, clock())

        router.add_api_route(
            f"/{{case_id}}/{path}",
            do,
            methods=["POST"],
            name=f"{path} a case",
            description=says,
            responses=_WRITING,
            openapi_extra=_body(Said),
        )

    add("answer", casework.answer, "Records what the customer was told. It sends nothing.")
    add("note", casework.note, "Records what is to be known about the case.")
    add("close", casework.close, "Closes the case; marketing goes to the customer again.")
    return router


def _body(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a request, for OpenAPI."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


async def _read(request: Request, model: type[_Body]) -> _Body:
    """The body, of a bounded size: FastAPI would take any, and before it looks at the token."""
    body = await read_body(request, _LARGEST_BODY)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        # Without what was sent.
        told = [".".join(map(str, one["loc"])) + f": {one['msg']}" for one in error.errors()]
        raise HTTPException(400, "; ".join(told).removeprefix(": ")) from None


async def _done(step: Callable[..., Case], *what: Any) -> CaseShown:
    try:
        return _shown(await run_in_threadpool(step, *what))
    except CaseUnknown as error:
        raise HTTPException(404, str(error)) from None
    except CaseError as error:
        raise HTTPException(409, str(error)) from None


def _shown(case: Case) -> CaseShown:
    return CaseShown.model_validate(case, from_attributes=True)
