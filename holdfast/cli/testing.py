"""`holdfast send-test`: one message of a campaign to one address, or one post, marked as a test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.running import AsOf, CampaignName, encodable, moment_of
from holdfast.cli.session import AsJson, Session, print_json

if TYPE_CHECKING:
    from holdfast.channel import Outcome
    from holdfast.delivery import Workspace
    from holdfast.delivery.trial import Tested

# What to do about a refusal, by its reason.
_ADVICE = {
    "bad_address": "nobody has this address there; check --to",
    "mailbox_full": "the mailbox is full; try another one",
    "blocked": "this account may not write to this address; docs/channels.md says what the provider asks for",
    "opted_out": "the receiver wants nothing of this account, and has to say otherwise there",
    "content": "the provider does not take this content; `holdfast preview` shows it",
    "too_large": "shorten the template; the mark `[Test]` counts, too",
    "unknown": "the provider's documentation knows the code",
}


def send_test(
    context: typer.Context,
    campaign: CampaignName,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="The one it goes to, of the channel's kind.", callback=encodable
        ),
    ] = None,
    step: Annotated[str | None, typer.Option(metavar="ID", help="Default: the first that is sent.")] = None,
    variant: Annotated[str | None, typer.Option(help="Default: the step's first variant.")] = None,
    channel: Annotated[str | None, typer.Option(help="Default: the step's first channel.")] = None,
    customer: Annotated[
        str | None,
        typer.Option(metavar="ID", help="With whose data. Default: somebody made up.", callback=encodable),
    ] = None,
    locale: Annotated[
        str | None, typer.Option(help="The made-up customer's language. Default: the business's.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="The step is a post: publish it, for everybody to see.")
    ] = False,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Send one message through its real channel to one address, marked as a test. No run knows of it."""
    session: Session = context.obj
    with session.workspace() as ws:
        is_post = any(post.id == step for post, _ in ws.campaign(campaign).posts)
        if is_post:
            _require_a_posts_options(step, publish, to, customer, variant, locale, as_of)
            from holdfast.delivery.trial import publish_test

            tested = publish_test(ws, campaign, step or "", channel)
        else:
            if publish:
                raise typer.BadParameter("the step is no post", param_hint="'--publish'")
            names = {"step": step, "variant": variant, "channel": channel}
            tested = _send(ws, campaign, to, names, customer, locale, as_of)
    facts = {"campaign": campaign, "channel": tested.channel, **_facts(tested)}
    if as_json:
        print_json(facts)
    else:
        typer.echo(_told(tested))
    if facts["state"] != "accepted":
        raise typer.Exit(1)


def _require_a_posts_options(step: str | None, publish: bool, *others: str | None) -> None:
    if any(other is not None for other in others):
        raise typer.BadParameter(
            f"{step!r} is a post, which is for everybody; it takes --channel alone", param_hint="'--step'"
        )
    if not publish:
        raise typer.BadParameter(
            f"{step!r} is a post, which everybody would see; publish a test of it with --publish",
            param_hint="'--step'",
        )


def _send(
    ws: Workspace,
    campaign: str,
    to: str | None,
    names: dict[str, str | None],
    customer: str | None,
    locale: str | None,
    as_of: str | None,
) -> Tested:
    from holdfast.audience.addresses import expected_address
    from holdfast.content.formats import known_locale
    from holdfast.delivery import trial
    from holdfast.delivery.choosing import choose, person_of

    if customer is not None and locale is not None:
        raise typer.BadParameter("a customer has a language of their own", param_hint="'--locale'")
    if locale is not None and known_locale(locale) is None:
        raise typer.BadParameter(f"{locale!r} is no language; write it like ar-EG", param_hint="'--locale'")
    if to is None:
        raise typer.BadParameter("a message goes to somebody; name the address", param_hint="'--to'")
    choice = choose(ws, campaign, **names)
    if expected := expected_address(choice.route.kind, to):
        raise typer.BadParameter(f"channel {choice.route.channel!r} takes {expected}", param_hint="'--to'")
    now = datetime.now(UTC)
    if customer is None:
        person = trial.made_up_person(locale or ws.project.business.locale)
    else:
        person = person_of(ws, choice, customer, moment_of(ws, as_of) or now)
    return trial.send_test(ws, choice, to, person, now)


def _facts(tested: Tested) -> dict[str, Any]:
    from holdfast.channel import Accepted, InDoubt, Rejected, Retry

    match tested.outcome:
        case Accepted(provider_id):
            return {"state": "accepted", "key": tested.key, "provider_id": provider_id}
        case Rejected(reason, detail):
            return {"state": "rejected", "key": tested.key, "reason": reason.value, "detail": detail}
        case Retry(after, detail):
            seconds = after and after.total_seconds()
            return {"state": "not_taken", "key": tested.key, "detail": detail, "after_seconds": seconds}
        case InDoubt(detail):
            return {"state": "in_doubt", "key": tested.key, "detail": detail}


def _told(tested: Tested) -> str:
    from holdfast.channel import DUPLICATE, Accepted, Rejected, RejectReason, Retry
    from holdfast.units import format_duration

    outcome: Outcome = tested.outcome
    by = f"by {tested.channel}"
    detail = "" if isinstance(outcome, Accepted) or not outcome.detail else f" ({outcome.detail})"
    match outcome:
        case Accepted(provider_id):
            return f"accepted {by}" + (f", as {provider_id}" if provider_id else "")
        case Rejected(RejectReason.CONTENT, code) if code == DUPLICATE:
            return f"rejected {by}: this very text was published there lately; look for it"
        case Rejected(reason):
            return f"rejected {by}: {reason.replace('_', ' ')}{detail}: {_ADVICE.get(reason, '')}"
        case Retry(after):
            when = f"in {format_duration(after)}" if after else "later"
            return f"not taken {by}{detail}: it certainly did not go; try again {when}"
        case _:
            return f"in doubt {by}{detail}: it left, and no answer came; look whether it arrived"
