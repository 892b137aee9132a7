"""Webhook intake: the web app against a bare endpoint that writes the same rows.

Both stand behind uvicorn in a process of their own and get the same requests from the same clients: bodies
of the size that SendGrid sends, signed as SendGrid signs. The bare endpoint believes everybody, whatever the
size, and a body that comes twice is an error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
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

from holdfast.store.database import Database
from holdfast.tables import inbox, metadata
from holdfast.web import app
from tests.benchmarks.measuring import Bound, Taken, measure

LEAST_RATIO = 0.5
PATH = "/webhooks/email"
EVENTS = 200  # a request, about 60 kB


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=1000, help=f"requests of {EVENTS} events")
    parser.add_argument("--clients", type=int, default=4, help="connections at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")


def run(arguments: Namespace) -> list[Bound]:
    """Both servers, in turns."""
    key = ec.generate_private_key(ec.SECP256R1())
    requests = [_signed(key, _body(number)) for number in range(arguments.requests)]
    print(f"{len(requests):,} requests of {len(requests[0][0]):,} bytes, {arguments.clients} connections")
    drive = partial(_drive, requests, arguments.clients, _public(key))
    taken = measure(
        arguments.rounds, len(requests), bare_endpoint=partial(drive, "bare"), web_app=partial(drive, "ours")
    )
    bare, ours = taken["bare_endpoint"], taken["web_app"]
    print(f"  {EVENTS * len(requests) / ours.wall:,.0f} events/s; ratio of CPU: {bare.cpu / ours.cpu:.2f}")
    return [Bound("webhook intake, over a bare endpoint", bare.wall / ours.wall, LEAST_RATIO, at_least=True)]


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


def _drive(requests: Sequence[SignedBody], clients: int, key: str, which: str) -> Taken:
    """Posts all requests to a server with an empty database; the CPU seconds are the server's."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder, _serving(which, Path(folder), key) as server:
        process, port = server
        _post(port, requests[:1])  # whatever is loaded or opened at the first
        start, cpu = perf_counter(), _cpu(process)
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(partial(_post, port), [requests[1:][place::clients] for place in range(clients)]))
        taken = Taken(perf_counter() - start, _cpu(process) - cpu)
        database = Database(_database_file(Path(folder)))
        with database.read() as connection:
            kept = connection.scalar(select(func.count()).select_from(inbox))
        database.close()
    if kept != len(requests):
        raise SystemExit(f"{kept} bodies were kept, not {len(requests)}")
    return taken


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
def _serving(which: str, folder: Path, key: str) -> Iterator[tuple[psutil.Process, int]]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(which, folder, key, theirs))
    process.start()
    try:
        yield psutil.Process(process.pid), ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(which: str, folder: Path, key: str, pipe: Any) -> None:
    served = _ours(folder, key) if which == "ours" else _bare(folder)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pipe.send(listening.getsockname()[1])  # connections wait until they are accepted
        config = uvicorn.Config(served, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


def _ours(folder: Path, key: str) -> FastAPI:
    """The app of a project, as it is run."""
    channel = {"adapter": "sendgrid", "api_key": {"env": "API_KEY"}, "webhook_key": key}
    (folder / "holdfast.yaml").write_text(json.dumps({"channels": {"email": channel}}), encoding="utf-8")
    os.environ |= {"HOLDFAST_PROJECT": str(folder), "API_KEY": "SG.x"}
    return app()


def _bare(folder: Path) -> FastAPI:
    database = Database(_database_file(folder))
    metadata.create_all(database.engine)
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


def _database_file(folder: Path) -> Path:
    return folder / ".holdfast" / "holdfast.db"
