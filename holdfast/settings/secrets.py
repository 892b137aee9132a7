"""Secrets: read where the project file says they are, when they are needed; never kept in a model."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.errors import SettingsError
from holdfast.settings.parts import AccessToken, SecretRef
from holdfast.settings.project import Project

SECRET_BYTES = 16

ReadBlock = Callable[[str], str]
"""Gives the value of a Prefect Secret block by its name, or raises SettingsError."""


def resolve_secret(ref: SecretRef, read_block: ReadBlock, environment: Mapping[str, str] = os.environ) -> str:
    """The secret itself. Raises SettingsError that says where it should have been."""
    if ref.block is not None:
        return read_block(ref.block)
    value = environment.get(str(ref.env), "")
    if not value:
        raise SettingsError(f"{ref} is not set", hint=f"set it: export {ref.env}=…")
    return value


def is_reference(value: Any) -> bool:
    """Whether a channel's option says where a secret is, `{env: NAME}` or `{block: NAME}`."""
    return (
        isinstance(value, Mapping)
        and list(value) in (["env"], ["block"])
        and all(map(_is_text, value.values()))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def fill_references(options: Mapping[str, Any], fill: Callable[[SecretRef], str]) -> dict[str, Any]:
    """A channel's options with `fill` of each reference in its place, however deep it is."""

    def filled(value: Any) -> Any:
        if is_reference(value):
            return fill(SecretRef(**value))
        if isinstance(value, Mapping):
            return {key: filled(inside) for key, inside in value.items()}
        return [filled(inside) for inside in value] if isinstance(value, list) else value

    return {key: filled(value) for key, value in options.items()}


def resolve_options(
    options: Mapping[str, Any], read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """A channel's options with the secrets themselves. Raises SettingsError for one that is not there."""
    return fill_references(options, lambda ref: resolve_secret(ref, read_block, environment))


def database_location(
    project: Project, read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> str | Path:
    """The database's URL: HOLDFAST_DATABASE_URL, else the project file's; else the path of an SQLite file."""
    if url := environment.get("HOLDFAST_DATABASE_URL"):
        return url
    if project.database is not None:
        return resolve_secret(project.database, read_block, environment)
    return project.root / ".holdfast" / "holdfast.db"


def project_secret(
    project: Project, read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> bytes:
    """The secret that signs links and seeds draws; without any, a random one is made in .holdfast/.

    Whoever changes it draws all arms anew, and voids all links where there are no `link_secrets`.
    """
    if text := environment.get("HOLDFAST_SECRET"):
        secret, where = text.encode(), "environment variable HOLDFAST_SECRET"
    elif project.secret is not None:
        secret, where = resolve_secret(project.secret, read_block, environment).encode(), str(project.secret)
    else:
        path = project.root / ".holdfast" / "secret"
        secret, where = _own_secret(path), str(path)
    return _long_enough(secret, where)


def link_secrets(
    project: Project, read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> list[bytes]:
    """The secrets that links and messages' keys are signed with: the first signs, all are believed."""
    if not project.link_secrets:
        return [project_secret(project, read_block, environment)]
    return [
        _long_enough(resolve_secret(ref, read_block, environment).encode(), str(ref))
        for ref in project.link_secrets
    ]


def access_tokens(
    project: Project, read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> list[tuple[str, AccessToken]]:
    """Each token of `web.tokens`, with its entry. Raises SettingsError for one that is missing or unfit."""
    found = []
    for name, entry in project.web.tokens.items():
        for ref in entry.token:
            token = resolve_secret(ref, read_block, environment)
            if len(token) < SECRET_BYTES or not (token.isascii() and token.isprintable()):
                raise SettingsError(
                    f"the token of web.tokens.{name} is too short, or no header can carry it: {ref}",
                    hint=f"{SECRET_BYTES} plain characters at least, for instance from: openssl rand -hex 32",
                )
            found.append((token, entry))
    return found


def _long_enough(secret: bytes, where: str) -> bytes:
    if len(secret) < SECRET_BYTES:
        raise SettingsError(
            f"the project's secret is too short: {where}",
            hint=f"{SECRET_BYTES} bytes at least, for instance from: openssl rand -hex 32",
        )
    return secret


def _own_secret(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"secret.{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_hex(32).encode())
    # A link appears whole or not at all, and only once: of two processes both take the first one's secret.
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
    return path.read_bytes()
