"""A test: one message or post through its real channel, to look at it where it arrives. It is of no run.

The ledger knows nothing of it. Its key is none of ours, so what comes back about it is nobody's. Its links
are signed for a message that there never is, so they lead where they should and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from secrets import token_hex

from holdfast.audience.addresses import address_key
from holdfast.audience.people import Person
from holdfast.channel import Message, Outcome, Rejected, RejectReason, Retry
from holdfast.content.message import Composer, post_text
from holdfast.content.samples import REGULAR
from holdfast.delivery.choosing import Choice, pick
from holdfast.delivery.pace import pace_of
from holdfast.delivery.publishing import publisher_of
from holdfast.delivery.workspace import Workspace
from holdfast.errors import BatchRefused, ChannelUnavailable, RunError
from holdfast.store.contact import why_suppressed

MARK = "[Test]"

# The database counts messages from 1.
_NO_MESSAGE = 0


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of a test on the channel. `key` is the message's name there; '' of a post."""

    channel: str
    outcome: Outcome
    key: str = ""


def made_up_person(locale: str) -> Person:
    """Somebody who does not exist, who reads this language."""
    return replace(REGULAR, customer=replace(REGULAR.customer, locale=locale))


def send_test(ws: Workspace, choice: Choice, to: str, person: Person, now: datetime) -> Tested:
    """Sends the chosen message to this address alone, with the person's data, in the channel's turn.

    Raises RunError for an address that nothing may go to, ChannelResting, ChannelUnavailable, RenderError.
    """
    route = choice.route
    with ws.database.read() as connection:
        because = why_suppressed(connection, route.kind, address_key(route.kind, to))
    if because is not None:
        raise RunError(f"nothing goes to this address: it has {because}", hint="send the test to another one")
    refers = ws.project.referrals is not None
    composer = Composer(ws.library, ws.signer, ws.project.brand, now.date(), ws.invitation, refers)
    message = _marked(composer.compose(_NO_MESSAGE, route.kind, to, choice.content, person), route.kind)
    channel, pace = ws.channel(route.channel), pace_of(ws, choice.campaign, route.channel)
    pace.take(1)
    try:
        [outcome] = channel.send([message])
    except (BatchRefused, ChannelUnavailable) as error:
        pace.give_back(1)
        if isinstance(error, ChannelUnavailable):
            raise
        outcome = Rejected(RejectReason.CONTENT)
    if isinstance(outcome, Retry):
        pace.give_back(1)
    return Tested(route.channel, outcome, message.key)


def publish_test(ws: Workspace, name: str, step: str, channel: str | None) -> Tested:
    """Publishes the post of this step, where everybody sees it; on its first channel unless one is named.

    Raises RunError for a step or channel that is not there, ChannelUnavailable, RenderError.
    """
    campaign = ws.campaign(name)
    post = pick("post", step, {post.id: post for post, _ in campaign.posts})
    enabled = {name: name for name in post.post if ws.project.channels[name].enabled}
    chosen = pick("channel", channel, enabled)
    text = post_text(ws.library, campaign, post, ws.channels.describe(chosen).kind)
    # Marked, it is another text than the campaign's post, which a network would refuse as a repetition.
    return Tested(chosen, publisher_of(ws, chosen).publish(f"{MARK} {text}", _key_of_a_test()))


def _marked(message: Message, kind: str) -> Message:
    """The message as a test: told by its subject, or by its text where there is none. It names nobody."""
    test = replace(message, key=_key_of_a_test(), to_name="")
    if message.subject or kind == "email":
        return replace(test, subject=f"{MARK} {message.subject}")
    first, *rest = message.skeleton.text
    return replace(test, skeleton=replace(message.skeleton, text=(f"{MARK} {first}", *rest)))


def _key_of_a_test() -> str:
    return f"test-{token_hex(12)}"
