"""GET /metrics, for Prometheus: the requests that this process took, and the state of the ledger."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from holdfast.delivery import Workspace
from holdfast.errors import HoldfastError
from holdfast.store.vital_signs import OUTCOMES, RECENT, VitalSigns, read_vital_signs
from holdfast.tables import RUN_STATES
from holdfast.web.bearer import Access

# No channel can be called so: a name has no brackets.
OUR_LINKS = "(links)"
NO_CHANNEL = "(unknown)"
_RECENTLY = f"in the last {RECENT.seconds // 60} minutes"
_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of a request that brought an answer."""

    TAKEN = "taken"
    REPEATED = "repeated"  # these very bytes were there already
    REFUSED = "refused"  # its signature is missing, wrong or old
    TOO_LARGE = "too_large"
    UNKNOWN = "unknown"  # no channel of this name takes answers
    FAILED = "failed"  # not kept: the database did not answer, or the sender was gone


class Intake:
    """Counts the answers that came to this process. Labels are names of channels, never what was sent."""

    def __init__(self, channels: Mapping[str, object], registry: CollectorRegistry) -> None:
        self._channels = channels
        self._requests = Counter(
            "holdfast_intake_requests",
            "Answers that came to this process, by channel and what became of them.",
            ("channel", "outcome", "process"),
            registry=registry,
        )
        # Where several processes serve one port, a scrape reaches any of them: theirs are not one series.
        self._process = str(os.getpid())
        # A series that begins with its first event hides that event from `increase`.
        for channel in (*channels, OUR_LINKS, NO_CHANNEL):
            for outcome in Outcome:
                self._requests.labels(channel, outcome.value, self._process)

    def count(self, channel: str, outcome: Outcome) -> None:
        """Counts one request; a channel that the project does not have is none by name."""
        known = channel if channel in self._channels or channel == OUR_LINKS else NO_CHANNEL
        self._requests.labels(known, outcome.value, self._process).inc()


class Ledger(Collector):
    """The state of the ledger, read when it is asked for."""

    def __init__(self, ws: Workspace, clock: Callable[[], datetime]) -> None:
        self._ws, self._clock = ws, clock

    def describe(self) -> list[Metric]:
        """Nothing: the names are known without a look at the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges; of a database that does not answer, this alone."""
        up = GaugeMetricFamily("holdfast_database_up", "Whether the database answered: 1, or 0.")
        now = self._clock()
        try:
            with self._ws.database.read() as connection:
                signs = read_vital_signs(connection, now)
        except (HoldfastError, SQLAlchemyError) as error:
            _log.warning("no numbers of the ledger for Prometheus: %s", type(error).__name__)
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        yield from _gauges(signs, tuple(self._ws.project.channels), now)


def routes(
    ws: Workspace, clock: Callable[[], datetime], registry: CollectorRegistry, access: Access
) -> APIRouter:
    """GET /metrics, for who has a token for it."""
    registry.register(Ledger(ws, clock))
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics", dependencies=[Depends(access.requires("metrics"))])
    def metrics() -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def _gauges(signs: VitalSigns, channels: tuple[str, ...], now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily("holdfast_inbox_unread", "Answers that are kept and not read yet.", signs.unread)
    yield GaugeMetricFamily(
        "holdfast_inbox_oldest_unread_seconds",
        "How long the oldest of them has waited; 0: none waits.",
        _age(signs.oldest_unread, now),
    )
    yield GaugeMetricFamily(
        "holdfast_erasures_waiting", "Customers who asked to be erased, and are not yet.", signs.erasures
    )
    asked = 0.0 if signs.oldest_erasure is None else max(0.0, (now - signs.oldest_erasure).total_seconds())
    yield GaugeMetricFamily(
        "holdfast_erasures_oldest_seconds", "How long ago the first of them asked; 0: nobody waits.", asked
    )
    none_of_channels = dict.fromkeys(channels, 0)
    yield _gauge(
        "holdfast_inbox_unreadable",
        "Answers that could not be read, and are kept for people to look at.",
        ("channel",),
        (
            ((channel or OUR_LINKS,), count)
            for channel, count in (none_of_channels | dict(signs.unreadable)).items()
        ),
    )
    yield _gauge(
        "holdfast_messages_due",
        "Messages of running runs that may go out now.",
        ("channel",),
        (((channel,), count) for channel, count in (none_of_channels | dict(signs.due)).items()),
    )
    no_sends = {(channel, outcome): 0 for channel in channels for outcome in OUTCOMES}
    yield _gauge(
        "holdfast_recent_sends",
        f"Messages that were given to a channel {_RECENTLY}, by what became of them.",
        ("channel", "outcome"),
        (no_sends | dict(signs.recent_sends)).items(),
    )
    yield _gauge(
        "holdfast_recent_responses",
        f"Responses that came {_RECENTLY}.",
        ("channel", "kind"),
        (((channel or OUR_LINKS, kind), count) for (channel, kind), count in signs.recent_responses.items()),
    )
    no_doubt = {(channel, "message"): 0 for channel in channels}
    yield _gauge(
        "holdfast_in_doubt",
        "Messages and posts of which nobody can tell whether the provider took them.",
        ("channel", "what"),
        (no_doubt | dict(signs.in_doubt)).items(),
    )
    states = dict.fromkeys(RUN_STATES, 0) | dict(signs.runs)
    yield _gauge(
        "holdfast_runs", "Runs by state.", ("state",), (((state,), count) for state, count in states.items())
    )
    yield _gauge(
        "holdfast_runs_stopped_by_guard",
        "Runs that their guard stopped and nobody has resumed.",
        ("campaign",),
        (((campaign,), count) for campaign, count in signs.guarded_runs.items()),
    )
    yield GaugeMetricFamily("holdfast_open_cases", "Complaints that are open.", signs.open_cases)
    yield GaugeMetricFamily(
        "holdfast_oldest_unanswered_case_seconds",
        "How long the oldest of them has waited for a first answer; 0: none waits.",
        _age(signs.oldest_unanswered, now),
    )


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


def _gauge(
    name: str, says: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], int]]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, says, labels=labels)
    for of, value in values:
        gauge.add_metric(of, value)
    return gauge
