"""The flow: a whole run through a real Prefect server, and the same without Prefect: its share of the time.

Both plan the same run in the same project, and send it by two processes into the same sink.
"""

from __future__ import annotations

import json
import os
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from holdfast import delivery
from holdfast.delivery import Workspace
from holdfast.wiring import open_workspace
from tests.benchmarks.loops import check_sent, check_taken
from tests.benchmarks.measuring import Bound, Taken, measure
from tests.benchmarks.population import populate
from tests.benchmarks.projects import REPOSITORY
from tests.benchmarks.sink import PAYLOADS, Sink, running_sink
from tests.benchmarks.workers import at_once

WORKERS = 2
QUICK = ["--messages", "10000", "--rounds", "1"]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=100_000, help="customers to write to")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured")


def run(arguments: Namespace) -> list[Bound]:
    """Says what Prefect's share is, of a run and of one a tenth as long; nothing is judged by it."""
    from holdfast.orchestration.server import ensure_server, stop_server

    with TemporaryDirectory(prefix="holdfast-bench-") as folder, running_sink(PAYLOADS["sendgrid"]) as sink:
        ensure_server(Path(folder, "prefect"), own=True)
        try:
            for customers in (arguments.messages // 10, arguments.messages):
                _compare(_Shop(Path(folder, f"shop_of_{customers}"), customers, sink), arguments.rounds)
        finally:
            stop_server(Path(folder, "prefect"))
    return []


def _compare(shop: _Shop, rounds: int) -> None:
    print(f"\n{shop.customers:,} messages of a made-up shop, SQLite, {WORKERS} processes")
    taken = measure(rounds, shop.customers, without_prefect=shop.send_bare, flow=shop.run_flow)
    without, flow = taken["without_prefect"].wall, taken["flow"].wall
    print(f"  Prefect's share: {flow - without:.2f} s, {100 * (flow - without) / flow:.0f} %")


class _Shop:
    """A project in a folder whose email goes to the sink, and a database of its customers as they were."""

    def __init__(self, root: Path, customers: int, sink: Sink) -> None:
        self.root, self.customers, self._sink = root, customers, sink
        os.environ["SENDGRID_API_KEY"] = "SG.x"
        shutil.copytree(REPOSITORY / "templates", root / "templates")
        (root / "campaigns").mkdir()
        email = {"adapter": "sendgrid", "api_key": {"env": "SENDGRID_API_KEY"}, "base_url": sink.url}
        _write(
            root / "holdfast.yaml",
            brand={
                "name": "Acme",
                "from": "Acme <hello@acme.example>",
                "postal_address": "1 High St, 10115 Berlin",
                "public_url": "https://r.acme.example",
            },
            channels={"email": email},
            runner={"kind": "processes", "workers": WORKERS},
        )
        _write(
            root / "campaigns" / "hello.yaml",
            campaign="hello",
            audience={"orders.count": {"gte": 1}},
            steps=[{"id": "hello", "channels": ["email"], "template": "winback/hello"}],
        )
        ws = _open(root)
        self._database = Path(ws.database.engine.url.database or "")
        ws.close()
        populate(self._database, customers)
        shutil.copyfile(self._database, root / "as_it_was.db")

    def run_flow(self) -> Taken:
        """A run by the flow, from its start to its end."""
        return self._measured(lambda: at_once(1, partial(_flow, self.root)).taken)

    def send_bare(self) -> Taken:
        """The same steps, called one after the other."""

        def steps() -> Taken:
            planning = at_once(1, partial(_planning, self.root)).taken
            sending = at_once(WORKERS, partial(_sending, self.root)).taken
            return Taken(planning.wall + sending.wall, planning.cpu + sending.cpu, sending.megabytes)

        return self._measured(steps)

    def _measured(self, steps: Callable[[], Taken]) -> Taken:
        for left in self._database.parent.glob(f"{self._database.name}*"):
            left.unlink()
        shutil.copyfile(self.root / "as_it_was.db", self._database)
        taken = steps()
        check_taken(self._sink, self.customers)
        check_sent(self._database, self.customers)
        return taken


def _write(path: Path, **settings: object) -> None:
    path.write_text(json.dumps(settings))  # which is YAML


def _open(root: Path) -> Workspace:
    return open_workspace(root, lambda block: "")


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def _flow(root: Path, place: int) -> Iterator[Callable[[], None]]:
    from holdfast.orchestration.running import run_now

    def run_flow() -> None:
        run_now(root, "hello", key="bench")

    yield run_flow


@contextmanager
def _planning(root: Path, place: int) -> Iterator[Callable[[], None]]:
    ws = _open(root)

    def plan() -> None:
        delivery.enroll(ws, delivery.open_run(ws, "hello", "bench", _now(), _now()), _now())

    yield plan
    ws.close()


@contextmanager
def _sending(root: Path, place: int) -> Iterator[Callable[[], None]]:
    ws = _open(root)

    def send() -> None:
        while delivery.dispatch_chunk(ws, "hello", "email", f"bench-{place}", _now).leased:
            pass
        delivery.settle(ws, "hello", _now())

    yield send
    ws.close()
