"""Rates of channels as Prefect global concurrency limits: seen in its UI, changed there while runs go on.

They are the knob and nothing more. Prefect gives slots back by whole ones and draws waits at random, so that
a second may see twice the rate: the turns themselves are given by `holdfast.delivery.pace`.
"""

from __future__ import annotations

import time
from datetime import datetime
from math import floor
from pathlib import Path
from threading import Lock, Thread

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse

from holdfast.orchestration.deployments import no_answer, project_deployment
from holdfast.settings import Project
from holdfast.store.cursors import read_cursor, write_cursor
from holdfast.store.database import Database
from holdfast.store.paces import STRETCHES_A_SECOND

_READ_EVERY = 2.0


def limit_name(root: Path, channel: str) -> str:
    """What the limit of a project's channel is called in Prefect, unlike any other project's."""
    return f"holdfast-{project_deployment(root)}-{channel}"


class Rates:
    """The rates in force on a project's channels, as Prefect had them at most two seconds ago.

    Where it has none for a channel, or an inactive one, the file's own rate holds; where it does not answer,
    what it said last.
    """

    def __init__(self, root: Path) -> None:
        self._prefix = limit_name(root, "")
        self._rates: dict[str, float] = {}
        self._read_at: float | None = None
        self._reading = Lock()

    def __call__(self, channel: str, rate: float | None) -> float | None:
        if self._read_at is None:
            # What an operator turned down is not sent at the file's rate, not even at first: all wait.
            with self._reading:
                if self._read_at is None:
                    self._read()
        elif time.monotonic() > self._read_at + _READ_EVERY:
            # Beside the sending, which does not wait for a server that may be slow.
            Thread(target=self._refresh, daemon=True).start()
        return self._rates.get(channel, rate)

    def _refresh(self) -> None:
        if self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()

    def _read(self) -> None:
        try:
            with get_client(sync_client=True) as client:
                standing = _standing(client, self._prefix)
        except (httpx.HTTPError, OSError):
            pass
        else:
            self._rates = {
                name.removeprefix(self._prefix): limit.slot_decay_per_second
                for name, limit in standing.items()
                if limit.active
            }
        finally:
            self._read_at = time.monotonic()


def deploy_limits(project: Project, database: Database, now: datetime) -> dict[str, float]:
    """Makes the project's limits those of its channels with a rate; the rates that hold then, by channel.

    What an operator set in Prefect stays until the file says another rate than at the last deploy. Raises
    OrchestrationError when the server does not answer.
    """
    wanted = {name: config.rate for name, config in project.channels.items() if config.rate is not None}
    try:
        with get_client(sync_client=True) as client:
            standing = _standing(client, limit_name(project.root, ""))
            rates = {}
            for channel, rate in wanted.items():
                name = limit_name(project.root, channel)
                rates[channel] = _deploy(client, database, name, rate, standing.pop(name, None), now)
            for name in standing:
                client.delete_global_concurrency_limit_by_name(name)
    except httpx.HTTPError as error:
        raise no_answer(error) from None
    return rates


def _deploy(
    client: SyncPrefectClient,
    database: Database,
    name: str,
    rate: float,
    limit: GlobalConcurrencyLimitResponse | None,
    now: datetime,
) -> float:
    """Makes one limit what the file says, if that is new; the rate that holds then."""
    slots = max(floor(rate / STRETCHES_A_SECOND), 1)
    with database.read() as connection:
        is_new = read_cursor(connection, name) != repr(rate)
    if limit is None:
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name=name, limit=slots, slot_decay_per_second=rate)
        )
    elif is_new:
        client.update_global_concurrency_limit(
            name, GlobalConcurrencyLimitUpdate(limit=slots, slot_decay_per_second=rate)
        )
    if is_new:
        with database.write() as connection:
            write_cursor(connection, name, repr(rate), now)
    return rate if limit is None or is_new or not limit.active else limit.slot_decay_per_second


def _standing(client: SyncPrefectClient, prefix: str) -> dict[str, GlobalConcurrencyLimitResponse]:
    """The limits that Prefect has, whose names begin so."""
    found: list[GlobalConcurrencyLimitResponse] = []
    while page := client.read_global_concurrency_limits(limit=200, offset=len(found)):
        found += page
    return {limit.name: limit for limit in found if limit.name.startswith(prefix)}
