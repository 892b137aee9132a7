"""What a command works with: the project it was called in, and the project's secret and database."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.delivery import Workspace
    from holdfast.settings import Project
    from holdfast.store.database import Database
    from holdfast.tokens import Signer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        file_okay=False,
        help="Where files go. Default: a folder of their own in .holdfast/.",
    ),
]


@dataclass
class Session:
    """One call of the command line, in the project that holds `folder`."""

    folder: Path

    @cached_property
    def project_file(self) -> Path:
        """The project file. Raises SettingsError where there is none."""
        from holdfast.settings import find_project

        return find_project(self.folder)

    @cached_property
    def project(self) -> Project:
        """The project. Raises ProblemsFound with everything that is wrong with its file."""
        from holdfast.settings import load_project

        return load_project(self.project_file)

    @cached_property
    def secret(self) -> bytes:
        """The project's secret. Raises SettingsError."""
        from holdfast.settings import project_secret

        return project_secret(self.project, self.read_block)

    @cached_property
    def signer(self) -> Signer:
        """What believes the project's own links and codes. Raises SettingsError."""
        from holdfast.settings import link_secrets
        from holdfast.tokens import Signer

        return Signer(*link_secrets(self.project, self.read_block))

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.project_file.parent

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """The whole project, opened. Raises ProblemsFound with everything that is wrong in its files."""
        from holdfast.wiring import open_workspace

        ws = open_workspace(self.root, self.read_block)
        try:
            yield ws
        finally:
            ws.close()

    def prefect(self) -> str:
        """The API URL of a Prefect server that answers, started in the background where none does."""
        from holdfast.orchestration.server import ensure_server

        return ensure_server(self.root / ".holdfast" / "prefect")

    def read_block(self, name: str) -> str:
        """The value of a Prefect Secret block; only now is Prefect imported, and a server needed."""
        self.prefect()
        from holdfast.orchestration import blocks

        return blocks.read_block(name)

    @contextmanager
    def database(self, *, of_any_schema: bool = False) -> Iterator[Database]:
        """The project's database, closed in the end. Raises StoreError where it cannot be used."""
        from holdfast.settings import database_location
        from holdfast.store import schema
        from holdfast.store.database import Database

        database = Database(database_location(self.project, self.read_block))
        try:
            if not of_any_schema:
                schema.ensure(database)
            yield database
        finally:
            database.close()


def operator() -> str:
    """Who is at the keyboard, as the system knows them: what is decided by hand is recorded with it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"  # a container need not know its users by name


def print_json(value: Any) -> None:
    """A result as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
