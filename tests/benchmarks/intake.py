"""Webhook intake: the web app against a bare endpoint that writes the same rows.

Both stand behind uvicorn in a process of their own and get the same requests from the same clients: bodies
of the size that SendGrid sends, signed as SendGrid signs. The bare endpoint believes everybody, whatever the
size, and a body that comes twice is an error.

Then requests arrive by a schedule, at half of the rate that was measured: alone, and while another process
plans and sends a campaign in the same database, at half of what is taken meanwhile.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import psutil
import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import func, insert, select

from holdfast import delivery
from holdfast.store.database import Database
from holdfast.store.schema import upgrade
from holdfast.tables import inbox
from holdfast.web import app
from tests.benchmarks.arrivals import Latencies, arrive
from tests.benchmarks.databases import Databases, SqliteFiles, postgres_server
from tests.benchmarks.loops import check_sent, enroll
from tests.benchmarks.measuring import Bound, Taken, measure
from tests.benchmarks.population import NOW, populate
from tests.benchmarks.projects import RunningClock, hello
from tests.benchmarks.sink import NowhereChannels
from tests.benchmarks.workers import at_once

LEAST_RATIO = 0.6
MOST_SECONDS = 0.25  # of 99 in 100 requests
QUICK = ["--requests", "200", "--customers", "5000", "--rounds", "1"]
PATH = "/webhooks/email"
EVENTS = 200  # a request, about 60 kB


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=1000, help=f"requests of {EVENTS} events")
    parser.add_argument("--clients", type=int, default=4, help="connections at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--customers", type=int, default=100_000, help="customers of the campaign meanwhile")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL too")


def run(arguments: Namespace) -> list[Bound]:
    """Both servers, in turns; then arrivals at ours."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        bounds = _measure(SqliteFiles(Path(folder)), arguments)
        if arguments.postgres:
            with postgres_server(Path(folder, "postgres")) as server:
                bounds += _measure(server, arguments)
    return bounds


def _measure(databases: Databases, arguments: Namespace) -> list[Bound]:
    key = ec.generate_private_key(ec.SECP256R1())
    requests = [_signed(key, _body(number)) for number in range(arguments.requests)]
    title = databases.title
    size = f"{len(requests):,} requests of {len(requests[0][0]):,} bytes"
    print(f"\n{title}: {size}, {arguments.clients} connections")
    make_empty(databases)
    drive = partial(_drive, databases, requests, arguments.clients, _public(key))
    taken = measure(
        arguments.rounds, len(requests), bare_endpoint=partial(drive, "bare"), web_app=partial(drive, "ours")
    )
    bare, ours = taken["bare_endpoint"], taken["web_app"]
    print(f"  {EVENTS * len(requests) / ours.wall:,.0f} events/s; ratio of CPU: {bare.cpu / ours.cpu:.2f}")
    rate = len(requests) / ours.wall / 2
    alone = _alone(databases, key, rate, len(requests))
    meanwhile = _meanwhile(databases, key, arguments.clients, arguments.customers)
    return [
        Bound(
            f"webhook intake, {title}, over a bare endpoint",
            bare.wall / ours.wall,
            LEAST_RATIO,
            at_least=True,
        ),
        Bound(f"p99 at half of that, {title}", alone.p99, MOST_SECONDS, " s"),
        Bound(
            f"p99 at half while a campaign is planned and sent, {title}", meanwhile.p99, MOST_SECONDS, " s"
        ),
    ]


def make_empty(databases: Databases) -> None:
    """The database `empty`, with the schema."""
    database = Database(databases.location("empty"))
    upgrade(database)
    database.close()


# --- arrivals -------------------------------------------------------------------------------------


def _alone(databases: Databases, key: ec.EllipticCurvePrivateKey, rate: float, count: int) -> Latencies:
    location = databases.copy("empty", "taken")
    with _serving("ours", location, _public(key)) as (_, port):
        _post(port, [_signed(key, b"[]")])  # as in `_drive`
        latencies = arrive(port, rate, _Requests(key), lambda number: number < count)
    _check_kept(location, 1 + len(latencies.seconds))
    print(f"  {rate:,.0f} requests/s as they come, {latencies}", flush=True)
    return latencies


def _meanwhile(
    databases: Databases, key: ec.EllipticCurvePrivateKey, clients: int, customers: int
) -> Latencies:
    """As long as the campaign takes, at half of what the web app takes during a fifth of it."""
    few = customers // 5
    with _campaign_meanwhile(databases, key, few) as (port, is_over):
        counts, start = [0] * clients, perf_counter()

        def post(place: int) -> None:
            requests = _Requests(key)
            while not is_over():
                _post(port, [requests.signed(place + clients * counts[place])])
                counts[place] += 1

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(post, range(clients)))
        rate = sum(counts) / (perf_counter() - start)
    print(f"  {rate:,.0f} requests/s at most while {few:,} are planned and sent", flush=True)
    with _campaign_meanwhile(databases, key, customers) as (port, is_over):
        latencies = arrive(port, rate / 2, _Requests(key), lambda number: not is_over())
    print(f"  {rate / 2:,.0f} requests/s as they come while {customers:,} are, {latencies}", flush=True)
    return latencies


@contextmanager
def _campaign_meanwhile(
    databases: Databases, key: ec.EllipticCurvePrivateKey, customers: int
) -> Iterator[tuple[int, Callable[[], bool]]]:
    """A web app's port, and whether the campaign to so many, by another process, is over."""
    location = databases.copy("empty", f"shop_of_{customers}")
    populate(location, customers)
    with _serving("ours", location, _public(key)) as (_, port), ThreadPoolExecutor(1) as pool:
        _post(port, [_signed(key, b"[]")])
        campaign = pool.submit(at_once, 1, partial(_campaign, location))
        yield port, campaign.done
        taken = campaign.result().taken
    check_sent(location, customers)
    print(f"  a campaign to {customers:,}: {taken.wall:.1f} s", flush=True)


class _Requests:
    """Requests that are each another, by their first event."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._before, self._after = _body(0).split(b"customer0-0@", 1)

    def signed(self, number: int) -> SignedBody:
        return _signed(self._key, b"%bcustomer%d-0@%b" % (self._before, number, self._after))

    def __call__(self, number: int) -> bytes:
        """The bytes of a whole request."""
        body, headers = self.signed(number)
        lines = [f"POST {PATH} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def _campaign(location: str | Path, place: int) -> Iterator[Callable[[], None]]:
    """Plans and sends to everybody, by a channel that takes all there is."""
    database = Database(location)
    ws, clock = hello(database, NowhereChannels()), RunningClock(NOW)

    def work() -> None:
        enroll(database, NOW)
        while delivery.dispatch_chunk(ws, "winback", "email", "bench", clock).leased:
            pass
        delivery.settle(ws, "winback", clock())

    yield work
    ws.close()


# --- requests -------------------------------------------------------------------------------------

SignedBody = tuple[bytes, dict[str, str]]


def _body(number: int) -> bytes:
    """The events of 200 messages, as SendGrid writes them."""
    return json.dumps(
        [
            {
                "email": f"customer{number}-{place}@shop.example",
                "timestamp": 1_780_000_000 + place,
                "event": "delivered",
                "sg_event_id": base64.b64encode(f"event-{number:012}-{place:08}".encode()).decode(),
                "sg_message_id": f"{number:022}.recvd-5f8c9-{place:05}.0",
                "response": "250 2.0.0 OK 1780000000 d2e1a72 - gsmtp",
                "message": f"{number * EVENTS + place}.WbTDoQ2Mz1Y0qjXkqHnN1pJkR7hN6xkCk2n7Y3v5c8E",
            }
            for place in range(EVENTS)
        ]
    ).encode()


def _signed(key: ec.EllipticCurvePrivateKey, body: bytes) -> SignedBody:
    timestamp = str(int(datetime.now(UTC).timestamp()))
    signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return body, {
        "Content-Type": "application/json",
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
    }


def _public(key: ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def _drive(databases: Databases, requests: Sequence[SignedBody], clients: int, key: str, which: str) -> Taken:
    """Posts all requests to a server with an empty database; the CPU seconds are the server's."""
    location = databases.copy("empty", "taken")
    with _serving(which, location, key) as (process, port):
        _post(port, requests[:1])  # whatever is loaded or opened at the first
        start, cpu = perf_counter(), _cpu(process)
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(partial(_post, port), [requests[1:][place::clients] for place in range(clients)]))
        taken = Taken(perf_counter() - start, _cpu(process) - cpu)
    _check_kept(location, len(requests))
    return taken


def _check_kept(location: str | Path, count: int) -> None:
    database = Database(location)
    with database.read() as connection:
        kept = connection.scalar(select(func.count()).select_from(inbox))
    database.close()
    if kept != count:
        raise SystemExit(f"{kept} bodies were kept, not {count}")


def _post(port: int, requests: Sequence[SignedBody]) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for body, headers in requests:
        connection.request("POST", PATH, body, headers)
        response = connection.getresponse()
        response.read()
        if response.status != 204:
            raise SystemExit(f"the server answered {response.status}")
    connection.close()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# --- servers --------------------------------------------------------------------------------------


@contextmanager
def _serving(which: str, location: str | Path, key: str) -> Iterator[tuple[psutil.Process, int]]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        process = context.Process(target=_serve, args=(which, Path(folder), location, key, theirs))
        process.start()
        try:
            yield psutil.Process(process.pid), ours.recv()
        finally:
            process.terminate()
            process.join()


def _serve(which: str, folder: Path, location: str | Path, key: str, pipe: Any) -> None:
    served = _ours(folder, location, key) if which == "ours" else _bare(location)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # asyncio does it for sockets of its own making only.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pipe.send(listening.getsockname()[1])  # connections wait until they are accepted
        config = uvicorn.Config(served, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


def _ours(folder: Path, location: str | Path, key: str) -> FastAPI:
    """The app of a project, as it is run."""
    channel = {"adapter": "sendgrid", "api_key": {"env": "API_KEY"}, "webhook_key": key}
    (folder / "holdfast.yaml").write_text(json.dumps({"channels": {"email": channel}}), encoding="utf-8")
    url = location if isinstance(location, str) else f"sqlite:///{location}"
    os.environ |= {"HOLDFAST_PROJECT": str(folder), "HOLDFAST_DATABASE_URL": url, "API_KEY": "SG.x"}
    return app()


def _bare(location: str | Path) -> FastAPI:
    database = Database(location)
    served = FastAPI()

    @served.post(PATH)
    async def take(request: Request) -> Response:
        body = await request.body()
        await run_in_threadpool(write, body)
        return Response(status_code=204)

    def write(body: bytes) -> None:
        row = {
            "channel": "email",
            "received_at": datetime.now(UTC),
            "body": body,
            "digest": hashlib.sha256(body).digest(),
        }
        with database.write() as connection:
            connection.execute(insert(inbox), [row])

    return served
