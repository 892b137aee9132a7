"""Settling: what ran-out leases leave behind, messages in doubt, and the ends of runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from holdfast.audience.reasons import Reason
from holdfast.campaign.models import Campaign
from holdfast.channel import Accepted, Outcome, Rejected, Retry
from holdfast.delivery.planning import running
from holdfast.delivery.publishing import settle_posts
from holdfast.delivery.workspace import Workspace
from holdfast.store import doubt, enrolling, runs
from holdfast.store.calls import Settled
from holdfast.store.doubt import Chosen, Doubtful

_LOOKED_UP_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class SettleResult:
    """`settled` messages and posts left doubt now, `in_doubt` still are in it; `done` occurrences ended."""

    settled: int
    in_doubt: int
    done: tuple[str, ...]


def settle(ws: Workspace, name: str, now: datetime) -> SettleResult:
    """Takes stock of the campaign: leases that ran out, doubt that can be ended, windows that closed, runs
    with nothing left to do."""
    campaign = ws.campaign(name)
    doubt.reclaim(ws.database)
    settled = sum(_settle_doubt(ws, campaign, channel, now) for channel in _channels(ws, campaign))
    settled += settle_posts(ws, name, now)
    window = ws.send_policy(campaign).window
    for run in running(ws, name):
        enrolling.reopen(ws.database, run, window, ws.project.business.timezone, now)
    lease = ws.project.dispatch.lease
    done = runs.settle_states(ws.database, name, ws.doubt_ends_after(campaign), lease, now)
    with ws.database.read() as connection:
        doubtful = sum(doubt.count_in_doubt(connection, Chosen(name)))
    return SettleResult(settled, doubtful, tuple(done))


def _channels(ws: Workspace, campaign: Campaign) -> list[str]:
    return list(dict.fromkeys(route.channel for step in campaign.sends for route in ws.routes(step)))


def _settle_doubt(ws: Workspace, campaign: Campaign, channel: str, now: datetime) -> int:
    """Ends what doubt can be ended: by asking the provider, by its idempotency, else by the policy."""
    can = ws.channels.describe(channel)
    before = None
    if not can.lookup and not can.idempotent:
        if campaign.in_doubt == "hold":
            return 0
        before = now - campaign.in_doubt_after
    settled = 0
    for page in _pages(ws, campaign.campaign, channel, before):
        if can.lookup:
            found = _look_up(ws, channel, page, now)
        else:
            found = [Settled(message.id, "planned", Reason.RESENT) for message in page]
        settled += doubt.resolve_doubt(
            ws.database, page, found, ws.fallbacks(campaign, channel), campaign.purpose, now
        )
    return settled


def _pages(ws: Workspace, campaign: str, channel: str, before: datetime | None) -> Iterator[list[Doubtful]]:
    last = 0
    while True:
        with ws.database.read() as connection:
            page = doubt.in_doubt(connection, campaign, channel, before, last, _LOOKED_UP_AT_ONCE)
        if not page:
            return
        yield page
        last = page[-1].id


def _look_up(ws: Workspace, channel: str, page: list[Doubtful], now: datetime) -> list[Settled]:
    keys = {ws.signer.sign("message", message.id): message for message in page}
    since = min(message.sent_at for message in page)
    found = ws.channel(channel).lookup(list(keys), since)
    call_is_over = now - ws.project.dispatch.lease
    proofs = (_proved(keys[key], outcome, call_is_over) for key, outcome in found.items())
    return [proof for proof in proofs if proof is not None]


def _proved(message: Doubtful, outcome: Outcome, call_is_over: datetime) -> Settled | None:
    match outcome:
        case Accepted(provider_id):
            return Settled(message.id, "accepted", provider_id=provider_id or None)
        case Rejected(reason):
            return Settled(message.id, "rejected", reason.value)
        case Retry() if message.sent_at <= call_is_over:
            # Not earlier: the call may still be under way, and be taken after all.
            return Settled(message.id, "planned")
        case _:
            return None
