"""What a campaign did, told to people: waterfall, results, samples, runs, and why a customer got what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from holdfast import delivery
from holdfast.content.message import Preview, content_of, preview
from holdfast.delivery.choosing import choose, customer_id_of, person_of
from holdfast.delivery.workspace import Workspace
from holdfast.errors import RenderError
from holdfast.store import counting, decisions, posts, runs
from holdfast.store.counting import Sample
from holdfast.store.history import load_people
from holdfast.store.runs import Run
from holdfast.store.segments import Counted, Explained, count_each, explain_customer
from holdfast.tables import MESSAGE_STATES


def waterfall(ws: Workspace, run_id: int) -> list[tuple[str, int]]:
    """From whom the rule matched to who was written to: (words, customers), what is taken away negative."""
    with ws.database.read() as connection:
        run = runs.get_run(connection, run_id)
        first = ws.campaign(run.campaign).sends[0].id
        return counting.run_waterfall(connection, run_id, first).rows()


def results(ws: Workspace, run_id: int) -> list[dict[str, str | int]]:
    """What became of the run's messages: a row a step, variant and channel, with a count for each state."""
    with ws.database.read() as connection:
        run = runs.get_run(connection, run_id)
        counts = counting.count_messages(connection, run_id)
    order = [step.id for step in ws.campaign(run.campaign).sends]
    rows: dict[tuple[str, str, str], Counter[str]] = {}
    for (step, variant, channel, state), n in counts.items():
        rows.setdefault((step, variant or "", channel), Counter())[state] += n
    shown = [state for state in MESSAGE_STATES if any(row[state] for row in rows.values())]
    return [
        {"step": step, "variant": variant, "channel": channel, **{state: row[state] for state in shown}}
        for (step, variant, channel), row in sorted(
            rows.items(), key=lambda item: (order.index(item[0][0]) if item[0][0] in order else 99, item[0])
        )
    ]


def samples(ws: Workspace, run_id: int, n: int = 3) -> list[dict[str, str]]:
    """The run's first `n` messages as customers get them: to (masked), channel, subject, text."""
    with ws.database.read() as connection:
        run = runs.get_run(connection, run_id)
        chosen = counting.sample_messages(connection, run_id, n)
    return render_samples(ws, run.campaign, chosen, run.as_of)


def render_samples(
    ws: Workspace, name: str, chosen: Sequence[Sample], as_of: datetime
) -> list[dict[str, str]]:
    """The messages as `samples` gives them, by the facts of a moment."""
    campaign = ws.campaign(name)
    steps = {step.id: step for step in campaign.sends}
    shown = []
    for row in chosen:
        step = steps.get(row.step)
        if step is None or (row.variant is not None and row.variant not in step.variants):
            continue
        with ws.database.read() as connection:
            needs = ws.needs(step, row.kind)
            bestsellers = ws.bestsellers(connection, as_of) if needs.favourites else None
            people = load_people(connection, [row.customer_id], as_of, needs, ws.project, bestsellers)
        try:
            content = content_of(campaign, step, row.variant)
            page = preview(ws.library, row.kind, content, people[row.customer_id])
        except RenderError as error:
            shown.append(
                {"to": "", "channel": row.channel, "subject": "cannot be rendered", "text": str(error)}
            )
        else:
            shown.append(
                {
                    "to": mask(row.address or ""),
                    "channel": row.channel,
                    "subject": page.subject,
                    "text": page.text,
                }
            )
    return shown


def preview_for(
    ws: Workspace,
    name: str,
    external_id: str,
    as_of: datetime,
    *,
    step: str | None = None,
    variant: str | None = None,
    channel: str | None = None,
) -> Preview:
    """What the customer would get from a step at a moment, with links that lead nowhere.

    Raises RunError for a customer, step, variant or channel that is not there, and RenderError.
    """
    choice = choose(ws, name, step=step, variant=variant, channel=channel)
    person = person_of(ws, choice, external_id, as_of)
    return preview(ws.library, choice.route.kind, choice.content, person)


def mask(address: str) -> str:
    """An address that people who know it recognise, and nobody else: `a…@e….com`."""
    local, at, domain = address.rpartition("@")
    if not at:
        return f"{address[:1]}…{address[-2:]}" if len(address) > 4 else "…"
    host, dot, ending = domain.rpartition(".")
    return f"{local[:1]}…@{(host or domain)[:1]}…{dot}{ending if dot else ''}"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run: its state, its messages and posts by state, and when something of its campaign is due next."""

    run: Run
    messages: dict[str, int]
    posts: dict[str, int]
    next_due: datetime | None

    @property
    def in_doubt(self) -> int:
        """Messages and posts that nobody can tell were taken."""
        return self.messages.get("in_doubt", 0) + self.posts.get("in_doubt", 0)


def status(ws: Workspace, now: datetime, name: str | None = None, latest: int = 10) -> list[RunStatus]:
    """The latest runs, of one campaign or of all, latest first."""
    if name is not None:
        ws.campaign(name)
    with ws.database.read() as connection:
        found = runs.list_runs(connection, name)[-latest:]
        states = counting.count_states(connection, [run.id for run in found])
        of_posts = posts.count_posts(connection, [run.id for run in found])
    return [
        RunStatus(
            run,
            states.get(run.id, {}),
            of_posts.get(run.id, {}),
            delivery.next_due(ws, run.campaign, now)
            if run.state == "running" and run.campaign in ws.sources
            else None,
        )
        for run in reversed(found)
    ]


def decided_by_hand(ws: Workspace, name: str, latest: int = 10) -> list[decisions.Decision]:
    """What people decided about the campaign, the latest first."""
    with ws.database.read() as connection:
        return decisions.list_decisions(connection, name, latest)


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """Where one message stands; `at` is when it was sent or is due. `preference`: why this channel, `chosen`
    or `answered`; None: by the step's order."""

    step: str
    channel: str
    preference: str | None
    state: str
    reason: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What one run decided about a customer, with its messages in order."""

    occurrence: str
    arm: str | None
    reason: str | None
    messages: list[MessageStatus]


@dataclass(frozen=True, slots=True)
class Why:
    """What the ledger says of a customer in a campaign, and the campaign's rule, part by part."""

    decisions: list[Decision]
    rule: list[Explained]


def why_anyone(ws: Workspace, name: str, as_of: datetime) -> list[Counted]:
    """How many customers each part of the campaign's rule matches at a moment."""
    campaign, context = ws.campaign(name), ws.rule_context(as_of)
    with ws.database.read() as connection:
        return count_each(connection, campaign.audience, context)


def why(ws: Workspace, name: str, external_id: str, as_of: datetime) -> Why:
    """Why the customer got what they got from the campaign. Raises RunError for an unknown customer."""
    campaign = ws.campaign(name)
    context = ws.rule_context(as_of)
    with ws.database.read() as connection:
        customer_id = customer_id_of(connection, external_id)
        decisions = [
            Decision(
                occurrence,
                arm,
                reason,
                [MessageStatus(*row) for row in counting.messages_of(connection, enrollment_id)],
            )
            for enrollment_id, occurrence, arm, reason in counting.enrollments_of(
                connection, name, customer_id
            )
        ]
        return Why(decisions, explain_customer(connection, campaign.audience, context, external_id))
