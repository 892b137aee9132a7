"""Bearer tokens: what only programs of ours may ask, each for the scopes that holdfast.yaml gives it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from holdfast.settings import AccessToken, Scope

_bearer = HTTPBearer(auto_error=False, description="A token that holdfast.yaml names under `web.tokens`.")


class Access:
    """Who may ask what. Holds digests alone, never a token."""

    def __init__(self, tokens: Iterable[tuple[str, AccessToken]]) -> None:
        self._scopes = [(_digest(token), frozenset(entry.scopes)) for token, entry in tokens]

    def requires(self, scope: Scope) -> Callable[..., None]:
        """The dependency of routes that need this scope: 401 without one of the tokens, 403 without it."""
        closed = all(scope not in scopes for _, scopes in self._scopes)

        def authorize(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
            if closed:
                raise HTTPException(403, f"closed: no token under web.tokens has the scope `{scope}`")
            granted = None if given is None else self._granted(given.credentials)
            if granted is None:
                raise HTTPException(401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"})
            if scope not in granted:
                raise HTTPException(403, f"this token has not the scope `{scope}`")

        return authorize

    def _granted(self, token: str) -> frozenset[Scope] | None:
        # All are compared, digests of one length in constant time: how long it takes tells nothing.
        digest = _digest(token)
        found = [scopes for known, scopes in self._scopes if secrets.compare_digest(known, digest)]
        return frozenset().union(*found) if found else None


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
