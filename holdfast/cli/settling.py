"""`holdfast settle`: doubt that a person ends, with a record of who and why."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from holdfast.cli.running import CampaignName
from holdfast.cli.session import AsJson, Session, operator, print_json

if TYPE_CHECKING:
    from holdfast.store.doubt import InDoubt


def settle(
    context: typer.Context,
    campaign: CampaignName,
    settlement: Annotated[
        Literal["accepted", "resend"],
        typer.Option("--as", help="The provider took them; or they are sent again, whatever became of them."),
    ],
    because: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    occurrence: Annotated[
        str | None, typer.Option(metavar="KEY", help="Of this occurrence alone; default: of all.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(metavar="NAME", help="On this channel alone; default: on all.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how doubt about messages and posts ends that nobody can prove. Recorded with who and why."""
    from holdfast.delivery import by_hand

    session: Session = context.obj
    now = datetime.now(UTC)
    with session.workspace() as ws:
        chosen = by_hand.choose(ws, campaign, occurrence, channel)
        settled, under_way = by_hand.count_doubt(ws, chosen, settlement, now)
        if any(settled):
            if sys.stdin.isatty() and not yes:
                typer.confirm(_question(settled, settlement), abort=True, err=True)
            settled = by_hand.settle_by_hand(ws, chosen, settlement, who=operator(), why=because, now=now)
    if as_json:
        print_json(
            {"campaign": campaign, "settled_as": settlement, **settled._asdict(), "under_way": under_way}
        )
    elif not any(settled):
        typer.echo("nothing is in doubt" if not under_way else "nothing may be sent again yet", err=True)
    elif settlement == "accepted":
        typer.echo(f"taken for accepted: {_told(settled)}")
    else:
        typer.echo(f"planned again: {_told(settled)}")
        typer.echo(f"send now with: holdfast run {campaign} --resume", err=True)
    if under_way:
        typer.echo(
            f"{under_way:,} more were being sent a moment ago: ask again after dispatch.lease", err=True
        )


def _question(settled: InDoubt, settlement: str) -> str:
    if settlement == "accepted":
        return f"take {_told(settled)} for accepted? What was not taken is never sent then"
    return f"send {_told(settled)} again? What was taken arrives twice then"


def _told(settled: InDoubt) -> str:
    counts = [(settled.messages, "message"), (settled.posts, "post")]
    return " and ".join(f"{n:,} {what}{'' if n == 1 else 's'}" for n, what in counts if n)
