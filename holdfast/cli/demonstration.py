"""`holdfast demo`: a made-up shop, two campaigns through Prefect, what came of them. All on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from holdfast import report
from holdfast.cli.session import Session
from holdfast.cli.shown import results_table, show, waterfall_table
from holdfast.demo.mail import MailServer
from holdfast.demo.shop import write_shop
from holdfast.errors import OrchestrationError
from holdfast.orchestration.server import ensure_server, stop_server
from holdfast.store.imports import Kind, import_file

if TYPE_CHECKING:
    from holdfast.orchestration.running import Ended

_CAMPAIGNS = ("winback", "thanks")
_STOP_WITHIN = 60.0  # seconds


def run(session: Session) -> None:
    """Runs the whole demo in the project; all that it writes is under .holdfast/demo/.

    It starts from an empty shop every time. Its Prefect server, with a home and a port of its own, stays up
    to be looked at. Raises OrchestrationError when a run does not complete.
    """
    home = _empty(session.root / ".holdfast" / "demo")
    with MailServer(home / "mail") as mail:
        # For this process, the worker and the flows that the worker starts.
        os.environ.update(
            HOLDFAST_PROJECT=str(session.root),
            HOLDFAST_DATABASE_URL=f"sqlite:///{home / 'demo.db'}",
            HOLDFAST_CHANNELS__EMAIL__FOLDER=str(home / "messages"),
            HOLDFAST_CHANNELS__RECEIPTS__PORT=str(mail.port),
        )
        session = Session(session.root)
        console = Console(stderr=True)
        _fill_shop(session, home, console)
        with console.status("Starting a Prefect server; this takes some 15 seconds the first time …"):
            ensure_server(home / "prefect", own=True)
        _deploy(session)
        log = home / "up.log"
        with _worker(log) as worker:
            runs = {name: _run(name, console, worker, log) for name in _CAMPAIGNS}
    _show(session, home, runs)


def stop(session: Session) -> bool:
    """Stops the demo's Prefect server; False where none was up."""
    return stop_server(session.root / ".holdfast" / "demo" / "prefect")


def _empty(home: Path) -> Path:
    """The demo's folder without what an earlier demo left, but for its Prefect server."""
    home.mkdir(parents=True, exist_ok=True)
    for path in home.iterdir():
        if path.name != "prefect":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return home


def _fill_shop(session: Session, home: Path, console: Console) -> None:
    now = datetime.now(UTC)
    with console.status("Making a shop …") as status, session.database() as database:
        files = write_shop(home / "shop", today=now.date())
        kinds: tuple[Kind, ...] = ("customers", "orders", "lines", "events")
        for kind in kinds:
            path: Path = getattr(files, kind)
            status.update(f"Importing {kind} …")
            rejects = path.with_suffix(".rejects.csv")
            done = import_file(
                database, session.project, session.secret, kind, path, now=now, rejects=rejects
            )
            console.print(f"imported {done.kept:,} {kind}")


def _deploy(session: Session) -> None:
    from holdfast.orchestration import deployments

    with session.workspace() as ws:
        deployments.deploy(ws.project, [source.campaign for source in ws.sources.values()])


@contextmanager
def _worker(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`holdfast up` beside us, as an operator would run it; it uses the server that is up."""
    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "holdfast.cli", "up"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield worker
        finally:
            worker.terminate()
            worker.wait(_STOP_WITHIN)


def _run(campaign: str, console: Console, worker: subprocess.Popen[bytes], log: Path) -> Ended:
    from holdfast.orchestration import running

    def look(state: str) -> None:
        status.update(f"Running {campaign} through Prefect: {state} …")
        if worker.poll() is not None:
            raise OrchestrationError("the worker stopped", hint=f"its log is {log}")

    with console.status(f"Running {campaign} through Prefect …") as status:
        ended = running.run_deployed(
            campaign,
            key="demo",
            while_waiting=look,
        )
    console.print(f"ran {campaign}: {ended.message}")
    if ended.state != "Completed":
        raise OrchestrationError(f"the run of {campaign} ended as {ended.state}", hint=f"look at {ended.url}")
    return ended


def _show(session: Session, home: Path, runs: Mapping[str, Ended]) -> None:
    from holdfast.orchestration.running import ui_url

    with session.workspace() as ws:
        for status in reversed(report.status(ws, datetime.now(UTC))):
            name, id_ = status.run.campaign, status.run.id
            print()
            show(f"{name}: from the rule to the messages", waterfall_table(report.waterfall(ws, id_)))
            print()
            show(f"{name}: what became of them", results_table(report.results(ws, id_)))
    print(
        f"""
Where to look
  Prefect UI          {ui_url()}
"""
        + "".join(f"    {name:16}  {ended.url}\n" for name, ended in runs.items())
        + f"""\
  messages (sandbox)  {_shown(home / "messages")}
  messages (smtp)     {_shown(home / "mail")}

The Prefect server stays up: holdfast demo --stop ends it. To ask this shop more:
  export HOLDFAST_DATABASE_URL={os.environ["HOLDFAST_DATABASE_URL"]}
  holdfast status
  holdfast why winback C000042
  holdfast preview winback --customer C000042"""
    )


def _shown(path: Path) -> Path:
    """The path as seen from the working directory, where it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
