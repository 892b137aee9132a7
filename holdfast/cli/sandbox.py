"""`holdfast sandbox`: what the sandbox has taken in the place of providers, as customers would see it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from holdfast.cli.session import AsJson, Output, Session, print_json
from holdfast.cli.shown import results_table, show
from holdfast.errors import SettingsError

if TYPE_CHECKING:
    from channels.sandbox_files import Outbox
    from holdfast.settings import Project


def sandbox(
    context: typer.Context,
    latest: Annotated[
        int, typer.Option(min=1, max=200, metavar="N", help="How many messages to show of each channel.")
    ] = 50,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write pages that show what went into the sandbox, as mail programs and phones would show it."""
    session: Session = context.obj
    folder = output or session.root / ".holdfast" / "sandbox"
    found, index = write_sandbox(session.project, folder, latest)
    rows: list[dict[str, str | int]] = [
        {"channel": box.channel, "kind": box.kind, "written": box.total, "shown": len(box.newest)}
        for box in found
    ]
    if as_json:
        print_json({"page": index, "channels": rows})
    else:
        show("", results_table(rows))
        typer.echo(f"written: {index}", err=True)


def write_sandbox(project: Project, folder: Path, latest: int) -> tuple[list[Outbox], Path]:
    """Writes the pages into the folder; what they show, and the one to begin with.

    Raises SettingsError for a project without a sandbox.
    """
    from channels.sandbox_page import pages
    from holdfast.wiring import outboxes

    found = outboxes(project, latest)
    if not found:
        raise SettingsError(
            "no channel of this project is a sandbox",
            hint="`adapter: sandbox` in holdfast.yaml makes one; messages of others are where they were sent",
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = pages(found, project.brand.name, datetime.now(ZoneInfo(project.business.timezone)))
    for name, page in written.items():
        (folder / name).write_text(page, encoding="utf-8", errors="replace")
    return found, folder / "index.html"
