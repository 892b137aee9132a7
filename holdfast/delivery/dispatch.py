"""Dispatch: lease a chunk, render it, wait for the pace, set `sending`, call the channel, settle.

The order is what keeps a message from going out twice: `sending` is committed before the call, the outcome
after it, and what a crash leaves in between is in doubt, never sent again by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from uuid import uuid4

from holdfast.audience.people import Needs, Person
from holdfast.audience.policy import next_try, pause_after
from holdfast.audience.reasons import Reason
from holdfast.campaign.models import Campaign, Step
from holdfast.channel import (
    Accepted,
    InDoubt,
    Message,
    Outcome,
    Rejected,
    RejectReason,
    Retry,
    by_count,
)
from holdfast.content.message import Composer, content_of
from holdfast.delivery import collection, guard
from holdfast.delivery.files import refuse_edited
from holdfast.delivery.pace import Pace, pace_of
from holdfast.delivery.planning import running
from holdfast.delivery.workspace import Workspace
from holdfast.errors import (
    BatchRefused,
    ChannelError,
    ChannelResting,
    ChannelUnavailable,
    RenderError,
)
from holdfast.store import ledger
from holdfast.store.calls import Batch, Begun, Ended, Settled, Terms, write_calls
from holdfast.store.group_commit import GroupCommit
from holdfast.store.history import load_people
from holdfast.store.ledger import Leased
from holdfast.store.runs import Run, get_run

Clock = Callable[[], datetime]

# Under a pace a message is rendered this long before it goes, at most.
_RENDERED_AHEAD = timedelta(minutes=1)
# Messages whose calls may be begun and ended in one transaction: a full batch after another.
_WRITTEN_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What became of one chunk. `leased` 0: nothing was left to do. `deferred` went back to `planned`
    because its window closed, its run was stopped, or its channel rests."""

    leased: int = 0
    accepted: int = 0
    rejected: int = 0
    retried: int = 0
    in_doubt: int = 0
    skipped: int = 0
    deferred: int = 0


def dispatch_chunk(
    ws: Workspace, name: str, channel: str, owner: str, clock: Clock, most: int | None = None
) -> ChunkResult:
    """Sends one chunk of the campaign's messages that are due on the channel, at most so many.

    `owner` names the worker; each chunk leases under a name of its own. Raises ChannelUnavailable when the
    channel needs an operator: nothing of the batch was taken, and all of it is planned again. Raises
    RunStopped when the run's guard stops it, and RunError when its files are not those that were approved.
    """
    campaign = ws.campaign(name)
    ws.channel(channel)  # opened before anything is leased: it may lack a secret
    pace = pace_of(ws, campaign, channel)
    lease_owner = f"{owner}/{uuid4().hex[:12]}"
    for run in running(ws, name):
        refuse_edited(ws, run)
        guard.check_rates(ws, run)
        try:
            pace.check()
        except ChannelResting as resting:
            ledger.postpone(ws.database, run.id, channel, clock() + resting.after)
            continue
        size = min(_size(ws, pace), most or ws.project.dispatch.chunk)
        leased = ledger.lease(
            ws.database, run.id, channel, lease_owner, size, ws.project.dispatch.lease, clock()
        )
        if leased:
            with collection.paused():
                return _Chunk(ws, campaign, run, channel, lease_owner, clock, pace).send(leased)
    return ChunkResult()


def _size(ws: Workspace, pace: Pace) -> int:
    """How many messages to lease: no more than go out before what they say is old."""
    whole, room = ws.project.dispatch.chunk, pace.room(_RENDERED_AHEAD)
    return whole if room is None else min(whole, room)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A message with its identity in the ledger; `attempts` are the calls before this one."""

    id: int
    step: str
    attempts: int
    message: Message


class _Chunk:
    """One leased chunk on its way out."""

    def __init__(
        self,
        ws: Workspace,
        campaign: Campaign,
        run: Run,
        channel: str,
        owner: str,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self.ws, self.campaign, self.run, self.owner, self.clock = ws, campaign, run, owner, clock
        self.channel, self.pace = ws.channel(channel), pace
        self.route = ws.route(channel)
        self.lease = ws.project.dispatch.lease
        self.renewed_at = clock()
        self.counts: Counter[str] = Counter()
        self.lock = Lock()
        self.is_over = False
        self.terms = Terms(
            run,
            owner,
            self.route,
            campaign.purpose,
            ws.send_policy(campaign).cap,
            campaign.topic,
            ws.fallbacks(campaign, channel),
        )
        self.write: GroupCommit[Ended | Batch, Begun] = GroupCommit(
            self._write, _WRITTEN_AT_ONCE, _messages_in
        )

    def send(self, leased: Sequence[Leased]) -> ChunkResult:
        """Renders and sends the chunk, batch by batch, as many at once as the channel wants."""
        self._count("leased", len(leased))
        try:
            messages = self._render(leased)
            batches = list(self._batches(messages))
            at_once = self.channel.capabilities.concurrency
            if at_once == 1 or len(batches) < 2:
                for batch in batches:
                    self._send_batch(batch)
            else:
                self._send_together(batches, at_once)
            if self.is_over:
                self._defer(leased)
        except ChannelResting as resting:
            self._defer(leased)
            until = self.clock() + resting.after
            ledger.postpone(self.ws.database, self.run.id, self.route.channel, until)
        except Exception:
            ledger.release(self.ws.database, [row.id for row in leased], self.owner)
            raise
        return ChunkResult(**self.counts)

    def _defer(self, leased: Sequence[Leased]) -> None:
        """Gives back what has not begun."""
        self._count("deferred", ledger.release(self.ws.database, [row.id for row in leased], self.owner))

    def _batches(self, messages: Sequence[_Rendered]) -> Iterator[Sequence[_Rendered]]:
        """The messages as the channel splits them, no batch larger than its pace takes at once."""
        by_key = {rendered.message.key: rendered for rendered in messages}
        most = self.pace.most or len(messages)
        for batch in self.channel.batches([rendered.message for rendered in messages]):
            yield from by_count([by_key[message.key] for message in batch], most)

    def _send_together(self, batches: Sequence[Sequence[_Rendered]], at_once: int) -> None:
        """Sends the batches by so many threads; what one of them raises ends all that have not begun."""
        with ThreadPoolExecutor(at_once, thread_name_prefix=self.route.channel) as pool:
            calls = [pool.submit(self._send_batch, batch) for batch in batches]
            waiting: Collection[Future[None]] = calls
            try:
                waiting = wait(calls, return_when=FIRST_EXCEPTION).not_done
            finally:
                if waiting:
                    self.is_over = True  # for those, too, who wait for their turn
                    pool.shutdown(wait=False, cancel_futures=True)
        errors = [error for call in calls if not call.cancelled() and (error := call.exception())]
        # That the channel rests says less than what else went wrong.
        for error in sorted(errors, key=lambda error: isinstance(error, ChannelResting)):
            raise error

    def _count(self, what: str, n: int) -> None:
        with self.lock:
            self.counts[what] += n

    # --- rendering ------------------------------------------------------------------------------------

    def _render(self, leased: Sequence[Leased]) -> list[_Rendered]:
        people = self._load(leased)
        today, brand = self.clock().date(), self.ws.project.brand
        refers = self.ws.project.referrals is not None
        composer = Composer(self.ws.library, self.ws.signer, brand, today, self.ws.invitation, refers)
        contents = {
            way: content_of(self.campaign, step, way[1])
            for way in {(row.step, row.variant) for row in leased}
            if (step := self._step(*way)) is not None
        }
        rendered: list[_Rendered] = []
        skipped: dict[Reason, list[int]] = {}
        for row in leased:
            content, person = contents.get((row.step, row.variant)), people.get(row.customer_id)
            if content is None:
                skipped.setdefault(Reason.STEP_REMOVED, []).append(row.id)
            elif person is None or row.address is None:
                skipped.setdefault(Reason.UNREACHABLE, []).append(row.id)
            else:
                try:
                    message = composer.compose(row.id, self.route.kind, row.address, content, person)
                except RenderError:
                    skipped.setdefault(Reason.RENDER_FAILED, []).append(row.id)
                else:
                    rendered.append(_Rendered(row.id, row.step, row.attempts, message))
        for reason, ids in skipped.items():
            ledger.release(self.ws.database, ids, self.owner, skip=reason)
            self._count("skipped", len(ids))
        return rendered

    def _step(self, id_: str, variant: str | None) -> Step | None:
        """The step as the campaign's file has it now; None: it, or its variant, has been removed."""
        step = next((step for step in self.campaign.sends if step.id == id_), None)
        return step if step is not None and (variant is None or variant in step.variants) else None

    def _load(self, leased: Sequence[Leased]) -> dict[int, Person]:
        seen_at = self.run.time_at(self.clock())
        needs = Needs()
        for id_ in {row.step for row in leased}:
            if (step := self._step(id_, None)) is not None:
                needs |= self.ws.needs(step, self.route.kind)
        with self.ws.database.read() as connection:
            bestsellers = self.ws.bestsellers(connection, seen_at) if needs.favourites else None
            customer_ids = [row.customer_id for row in leased]
            return load_people(connection, customer_ids, seen_at, needs, self.ws.project, bestsellers)

    # --- sending --------------------------------------------------------------------------------------

    def _send_batch(self, batch: Sequence[_Rendered]) -> None:
        if self.is_over:
            return
        self._keep_lease()
        self.pace.take(len(batch))
        if self.is_over:
            self.pace.give_back(len(batch))
            return
        # Again: `sending` lasts as long as the lease of what was waiting does.
        self._keep_lease()
        attempt_id, states = self.write([rendered.id for rendered in batch])
        self._count("skipped", sum(state == "skipped" for state in states.values()))
        self._count("deferred", sum(state == "planned" for state in states.values()))
        going = [rendered for rendered in batch if states.get(rendered.id) == "sending"]
        self.pace.give_back(len(batch) - len(going))
        if not going:
            self._look_whether_it_is_over()
            return
        try:
            outcomes = self.channel.send([rendered.message for rendered in going])
            if len(outcomes) != len(going):
                raise ChannelError(
                    f"channel {self.route.channel!r} gave {len(outcomes)} outcomes for {len(going)} messages"
                )
        except BatchRefused:
            self.pace.give_back(len(going))
            self._bisect(attempt_id, going)
        except ChannelUnavailable:
            self._settle(attempt_id, [Settled(rendered.id, "planned") for rendered in going])
            self.pace.give_back(len(going))
            guard.check_calls(self.ws, self.run, self.route.channel)
            raise
        except Exception:
            # The adapter broke: nobody can tell how far it came.
            self._settle(attempt_id, [Settled(r.id, "in_doubt", Reason.CHANNEL_FAILED) for r in going])
            raise
        else:
            now = self.clock()
            self._settle(
                attempt_id,
                [_settled(rendered, outcome, now) for rendered, outcome in zip(going, outcomes, strict=True)],
            )
            self.pace.give_back(sum(isinstance(outcome, Retry) for outcome in outcomes))
            self._heed(outcomes)
            if any(isinstance(outcome, Rejected) for outcome in outcomes):
                guard.check_rates(self.ws, self.run)

    def _heed(self, outcomes: Sequence[Outcome]) -> None:
        """A call that came to nothing: rests as its provider asked, else longer with each in a row."""
        if not all(map(_came_to_nothing, outcomes)):
            return
        if pauses := [outcome.after for outcome in outcomes if isinstance(outcome, Retry) and outcome.after]:
            self.pace.rest(max(pauses))
        # None failed in a row: another worker's call got through since this one began.
        elif failed := guard.check_calls(self.ws, self.run, self.route.channel):
            self.pace.rest(pause_after(failed))

    def _look_whether_it_is_over(self) -> None:
        """A run that was stopped takes no more batches: none of them waits for its turn any more."""
        with self.ws.database.read() as connection:
            self.is_over = get_run(connection, self.run.id).state != "running"

    def _bisect(self, attempt_id: int, refused: Sequence[_Rendered]) -> None:
        """Halves a refused batch, each half `sending` before its own call: one bad message ends alone."""
        if len(refused) == 1:
            self._settle(attempt_id, [Settled(refused[0].id, "rejected", RejectReason.CONTENT)])
            return
        ledger.take_back(
            self.ws.database, attempt_id, [r.id for r in refused], self.owner, self.lease, self.clock()
        )
        middle = len(refused) // 2
        self._send_batch(refused[:middle])
        self._send_batch(refused[middle:])

    def _settle(self, attempt_id: int, settled: Sequence[Settled]) -> None:
        self.write(Ended(attempt_id, settled))
        for state, n in Counter(outcome.state for outcome in settled).items():
            self._count("retried" if state == "planned" else state, n)

    def _write(self, calls: Sequence[Ended | Batch]) -> list[Begun]:
        """Ends and begins calls, of whatever threads; of those that ended nothing is to be sent."""
        ended = [call for call in calls if isinstance(call, Ended)]
        beginning = [call for call in calls if not isinstance(call, Ended)]
        begun = iter(write_calls(self.ws.database, self.terms, ended, beginning, self.clock))
        return [Begun(call.attempt_id, {}) if isinstance(call, Ended) else next(begun) for call in calls]

    def _keep_lease(self) -> None:
        if self.clock() - self.renewed_at > self.lease / 3:
            ledger.renew(self.ws.database, self.owner, self.lease)
            self.renewed_at = self.clock()


def _messages_in(call: Ended | Batch) -> int:
    return len(call.settled if isinstance(call, Ended) else call)


def _came_to_nothing(outcome: Outcome) -> bool:
    return isinstance(outcome, InDoubt) or (isinstance(outcome, Retry) and not outcome.of_recipient)


def _settled(rendered: _Rendered, outcome: Outcome, now: datetime) -> Settled:
    """What an outcome makes of a message in the ledger."""
    match outcome:
        case Accepted(provider_id):
            # Neither NUL nor half a character is text to a database.
            known_as = provider_id.replace("\0", "").encode(errors="replace").decode()
            return Settled(rendered.id, "accepted", provider_id=known_as or None)
        case Rejected(reason):
            return Settled(rendered.id, "rejected", reason.value)
        case Retry(after, of_recipient=asked):
            due_at = next_try(rendered.attempts + 1, after, now)
            if due_at is None:
                exhausted = RejectReason.RETRIES_EXHAUSTED.value
                return Settled(rendered.id, "rejected", exhausted, is_of_recipient=asked)
            return Settled(rendered.id, "planned", due_at=due_at, is_of_recipient=asked)
        case InDoubt():
            return Settled(rendered.id, "in_doubt", Reason.NO_ANSWER)
