"""Publishing: a campaign's public posts, one for each of their channels and once a run.

The order is a message's: `sending` is committed before the call, the outcome after it. What a crash leaves in
between is in doubt, and is looked for in our own timeline before it may be published again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.audience.policy import next_try
from holdfast.audience.reasons import Reason
from holdfast.campaign.models import Campaign
from holdfast.channel import DUPLICATE, Accepted, InDoubt, Outcome, Publisher, Rejected, RejectReason, Retry
from holdfast.content.message import post_text
from holdfast.delivery.files import refuse_edited
from holdfast.delivery.workspace import Workspace
from holdfast.errors import ChannelUnavailable, HoldfastError, RenderError
from holdfast.store import posts
from holdfast.store.posts import Planned, Post, SettledPost
from holdfast.store.runs import Run, get_run

Clock = Callable[[], datetime]

# How far a network's clock may be behind ours.
_CLOCKS_APART = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What became of the posts that were due. `retried` are planned again."""

    accepted: int = 0
    rejected: int = 0
    retried: int = 0
    in_doubt: int = 0


def plan_posts(ws: Workspace, run: Run) -> None:
    """Plans the run's posts, counted from its start; later calls change nothing."""
    posts.plan_posts(
        ws.database,
        run.id,
        [
            Planned(post.id, channel, ws.channels.describe(channel).kind, run.created_at + passed)
            for post, passed in ws.campaign(run.campaign).posts
            for channel in post.post
        ],
    )


def publish_due(ws: Workspace, name: str, owner: str, clock: Clock) -> PublishResult:
    """Publishes the campaign's posts that are due, one after the other.

    Raises, after all of them, what a channel raised that needs an operator: its post is planned again; and
    RunError where a run's files are not those that were approved: its posts wait.
    """
    campaign = ws.campaign(name)
    with ws.database.read() as connection:
        waiting = posts.due_posts(connection, name, clock())
    counts: Counter[str] = Counter()
    failures: list[HoldfastError] = []
    for post in waiting:
        try:
            if state := _publish(ws, campaign, post, owner, clock):
                counts["retried" if state == "planned" else state] += 1
        except HoldfastError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return PublishResult(**counts)


def _publish(ws: Workspace, campaign: Campaign, post: Post, owner: str, clock: Clock) -> str | None:
    """The post's state after one call; None: another worker has it, or its run has stopped."""
    with ws.database.read() as connection:
        refuse_edited(ws, get_run(connection, post.run_id))
    publisher = publisher_of(ws, post.channel)
    step = next((step for step, _ in campaign.posts if step.id == post.step), None)
    if step is None:
        return _give_up(ws, post, Reason.STEP_REMOVED, clock())
    try:
        text = post_text(ws.library, campaign, step, post.kind)
    except RenderError:
        return _give_up(ws, post, Reason.RENDER_FAILED, clock())
    if not posts.begin_publishing(ws.database, post, text, owner, ws.project.dispatch.lease, clock()):
        return None

    def settle(settled: SettledPost) -> str:
        posts.settle_post(ws.database, post.id, post.attempts + 1, settled, clock())
        return settled.state

    try:
        outcome = publisher.publish(text, ws.signer.sign("post", post.id))
    except ChannelUnavailable:
        settle(_again(post))
        raise
    except Exception:
        # The adapter broke: nobody can tell how far it came.
        settle(SettledPost("in_doubt", Reason.CHANNEL_FAILED.value))
        raise
    if outcome == Rejected(RejectReason.CONTENT, DUPLICATE) and text == post.text:
        # Refused for what the call in doubt before this one has published after all.
        return settle(SettledPost("accepted", provider_id=_find_if_possible(publisher, post)))
    return settle(_settled(post, outcome, clock()))


def publisher_of(ws: Workspace, name: str) -> Publisher:
    """The channel, which publishes. Raises ChannelUnavailable for one that does not."""
    channel = ws.channel(name)
    if not (channel.capabilities.posts and isinstance(channel, Publisher)):
        raise ChannelUnavailable(
            f"channel {name!r} publishes no posts", hint="run `holdfast validate`: it says where it is named"
        )
    return channel


def _give_up(ws: Workspace, post: Post, reason: Reason, now: datetime) -> str:
    posts.reject_planned(ws.database, post.id, reason, now)
    return "rejected"


def _again(post: Post, due_at: datetime | None = None) -> SettledPost:
    """Planned again; what an earlier call may have published is still known."""
    return SettledPost("planned", due_at=due_at, text=post.text, sent_at=post.sent_at)


def _settled(post: Post, outcome: Outcome, now: datetime) -> SettledPost:
    match outcome:
        case Accepted(provider_id):
            return SettledPost("accepted", provider_id=provider_id or None)
        case Rejected(reason):
            return SettledPost("rejected", reason.value)
        case Retry(after):
            due_at = next_try(post.attempts + 1, after, now)
            if due_at is None:
                return SettledPost("rejected", RejectReason.RETRIES_EXHAUSTED.value)
            return _again(post, due_at)
        case InDoubt():
            return SettledPost("in_doubt", Reason.NO_ANSWER.value)


# --- doubt ----------------------------------------------------------------------------------------


def settle_posts(ws: Workspace, name: str, now: datetime) -> int:
    """Ends what doubt about the campaign's posts can be ended; how many left it.

    A post is looked for when the lease of its call is over: then it is out, or never will be, and is planned
    again. One whose channel cannot be asked now stays in doubt.
    """
    posts.reclaim_posts(ws.database)
    with ws.database.read() as connection:
        doubtful = posts.posts_in_doubt(connection, name)
    settled = 0
    for post in doubtful:
        if post.sent_at is None or post.sent_at > now - ws.project.dispatch.lease:
            continue
        try:
            provider_id = _find(publisher_of(ws, post.channel), post)
        except HoldfastError:
            continue
        proved = _again(post) if provider_id is None else SettledPost("accepted", provider_id=provider_id)
        settled += posts.settle_post(ws.database, post.id, post.attempts, proved, now)
    return settled


def _find(publisher: Publisher, post: Post) -> str | None:
    if post.text is None or post.sent_at is None:
        return None
    return publisher.find_post(post.text, post.sent_at - _CLOCKS_APART)


def _find_if_possible(publisher: Publisher, post: Post) -> str | None:
    with suppress(ChannelUnavailable):
        return _find(publisher, post)
    return None
