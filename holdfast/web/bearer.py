"""Bearer tokens: what only programs of ours may ask, each for one purpose."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from holdfast.settings import Project, ReadBlock, resolve_secret

_bearer = HTTPBearer(
    auto_error=False, description="The token that holdfast.yaml names for this, under `web`."
)


def token_of(project: Project, setting: str, read_block: ReadBlock) -> str | None:
    """The token that `web.SETTING` names; None: there is none. Raises SettingsError where it is missing."""
    reference = getattr(project.web, setting)
    return None if reference is None else resolve_secret(reference, read_block)


def requires(setting: str, token: str | None, what: str) -> Callable[..., None]:
    """The dependency of routes that are for who has this token: 401 without it, 403 where there is none.

    `what` is closed then, for the answer.
    """

    def authorize(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
        if token is None:
            raise HTTPException(403, f"{what}: web.{setting} is not set in holdfast.yaml")
        if given is None or not secrets.compare_digest(given.credentials.encode(), token.encode()):
            raise HTTPException(401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"})

    return authorize
