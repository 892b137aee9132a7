"""`holdfast preview | run | status | why`: one campaign, before, while and after it runs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.session import AsJson, Output, Session, print_json
from holdfast.cli.shown import decisions_table, progress_bars, show, status_table, waterfall_table

if TYPE_CHECKING:
    from holdfast.delivery import Workspace
    from holdfast.report import RunStatus, Why


def encodable(text: str | None) -> str | None:
    """Refuses what no database takes: bytes of the command line that are not text in UTF-8."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("this is not text in UTF-8") from None
    return text


def _printable(key: str | None) -> str | None:
    """Refuses names that nobody could tell apart in a table or a UI."""
    if key is not None and (not key.isprintable() or not 0 < len(key.strip()) <= 100):
        raise typer.BadParameter("expected 1 to 100 printable characters")
    return key


CampaignName = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign's name.")]
AsOf = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Select by the facts of this moment: 2026-11-21, or with a time."),
]


def run(
    context: typer.Context,
    campaign: CampaignName,
    key: Annotated[
        str | None,
        typer.Option(
            help="Name of the occurrence; default: today. A key never runs twice.", callback=_printable
        ),
    ] = None,
    as_of: AsOf = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with stopped and waiting runs; start no new one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the campaign now, through Prefect, in this process. What was sent before is never sent again."""
    from holdfast import report

    session: Session = context.obj
    with session.workspace() as ws:
        ws.campaign(campaign)
        moment = moment_of(ws, as_of)
        if moment is not None and moment > datetime.now(UTC):
            # Later runs would take it for the latest, and re-entry would count from it.
            raise typer.BadParameter("a run cannot be of the future", param_hint="'--as-of'")
        if not resume and key is None:
            from zoneinfo import ZoneInfo

            key = datetime.now(ZoneInfo(ws.project.business.timezone)).date().isoformat()
    session.prefect()
    from holdfast.orchestration import running

    with progress_bars() as progress:
        ended = running.run_now(
            session.root, campaign, key=key, as_of=moment, resume=resume, on_progress=progress
        )
    with session.workspace() as ws:
        latest = report.status(ws, datetime.now(UTC), campaign, latest=1)
        rows = report.waterfall(ws, latest[0].run.id) if latest else []
    if as_json:
        print_json({"state": ended.state, "message": ended.message, "url": ended.url} | _facts(latest))
    else:
        if rows:
            show(f"{campaign}, occurrence {latest[0].run.occurrence}", waterfall_table(rows))
        typer.echo(f"{ended.state}: {ended.message}\n{ended.url}", err=True)
    if ended.state not in ("Completed", "Missed"):
        raise typer.Exit(1)


def status(
    context: typer.Context,
    campaign: Annotated[
        str | None, typer.Argument(metavar="[CAMPAIGN]", help="Default: all campaigns.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest runs: state, messages by state, how many are in doubt, what is due next.

    Of one campaign, with what people decided about it by hand.
    """
    from holdfast import report

    with context.obj.workspace() as ws:
        found = report.status(ws, datetime.now(UTC), campaign)
        decided = report.decided_by_hand(ws, campaign) if campaign else []
    if as_json:
        print_json(_facts(found) | ({"decisions": [asdict(one) for one in decided]} if campaign else {}))
        return
    if found:
        show("", status_table(found))
    else:
        typer.echo("no run yet", err=True)
    if decided:
        show("\nDecided by hand", decisions_table(decided))
    for name in dict.fromkeys(row.run.campaign for row in found if row.in_doubt):
        typer.echo(f"doubt can be ended with: holdfast settle {name} --as accepted|resend", err=True)


def why(
    context: typer.Context,
    campaign: CampaignName,
    customer: Annotated[
        str | None,
        typer.Argument(metavar="[CUSTOMER]", help="The customer's id, as imported.", callback=encodable),
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Say why a customer got what they got, or nothing: every decision, and the rule part by part.

    Without a customer: how many customers each part of the rule matches.
    """
    from holdfast import report

    with context.obj.workspace() as ws:
        moment = moment_of(ws, as_of) or datetime.now(UTC)
        if customer is None:
            counted = report.why_anyone(ws, campaign, moment)
        else:
            told = report.why(ws, campaign, customer, moment)
    if customer is None and as_json:
        print_json([asdict(part) for part in counted])
    elif customer is None:
        for part in counted:
            typer.echo(f"{part.customers:>12,}  {'  ' * part.depth}{part.words}")
    elif as_json:
        print_json(asdict(told))
    else:
        _print_why(told)


def preview(
    context: typer.Context,
    campaign: CampaignName,
    customer: Annotated[
        str, typer.Option(metavar="ID", help="The customer's id, as imported.", callback=encodable)
    ],
    step: Annotated[str | None, typer.Option(metavar="ID", help="Default: the first step.")] = None,
    variant: Annotated[str | None, typer.Option(help="Default: the step's first variant.")] = None,
    channel: Annotated[str | None, typer.Option(help="Default: the step's first channel.")] = None,
    output: Output = None,
    as_of: AsOf = None,
) -> None:
    """Render what one customer would get: print the text, write the page to look at. Sends nothing."""
    from holdfast import report

    session: Session = context.obj
    with session.workspace() as ws:
        moment = moment_of(ws, as_of) or datetime.now(UTC)
        page = report.preview_for(ws, campaign, customer, moment, step=step, variant=variant, channel=channel)
    folder = output or session.root / ".holdfast" / "preview"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for ending, text in (("html", page.html), ("txt", page.text)):
        if text:
            path = folder / f"{page.template.replace('/', '-').rsplit('.', 1)[0]}.{ending}"
            path.write_text(text, encoding="utf-8")
            written.append(str(path))
    if page.subject:
        typer.echo(f"Subject: {page.subject}\n")
    typer.echo(page.text.rstrip())
    if page.attached:
        typer.echo(f"\nAttached: {', '.join(page.attached)}")
    typer.echo(f"written: {', '.join(written)}", err=True)


# --- shared by these commands ---------------------------------------------------------------------


def moment_of(ws: Workspace, text: str | None) -> datetime | None:
    """A time as people write it, in the business's zone unless it names another; in UTC."""
    if text is None:
        return None
    from zoneinfo import ZoneInfo

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        what = f"{text!r} is not a time; write it like 2026-11-21 or 2026-11-21T09:00"
        raise typer.BadParameter(what, param_hint="'--as-of'") from None
    if not 1900 <= moment.year < 2200:
        raise typer.BadParameter(f"{text!r} is in no year of a business", param_hint="'--as-of'")
    zone = ZoneInfo(ws.project.business.timezone)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _facts(found: list[RunStatus]) -> dict[str, object]:
    return {
        "runs": [
            {
                "campaign": row.run.campaign,
                "occurrence": row.run.occurrence,
                "state": row.run.state,
                "reason": row.run.reason,
                "messages": row.messages,
                "posts": row.posts,
                "in_doubt": row.in_doubt,
                "next_due": row.next_due and row.next_due.isoformat(),
            }
            for row in found
        ]
    }


def _print_why(told: Why) -> None:
    if not told.decisions:
        typer.echo("no run has selected this customer")
    for decision in told.decisions:
        enrolled = f"enrolled, {decision.arm}" if decision.arm else f"turned away: {_words(decision.reason)}"
        typer.echo(f"{decision.occurrence}: {enrolled}")
        for message in decision.messages:
            because = f" ({_words(message.reason)})" if message.reason else ""
            when = f", {message.at:%Y-%m-%d %H:%M} UTC" if message.at else ""
            why = _PREFERENCES.get(message.preference or "", "")
            typer.echo(f"  {message.step} by {message.channel}{why}: {message.state}{because}{when}")
    typer.echo("\nthe campaign's rule, for this customer:")
    for part in told.rule:
        typer.echo(f"  {'yes' if part.matched else 'no ':3} {'  ' * part.depth}{part.words}")


# Why it is this channel, where the customer's own order counts.
_PREFERENCES = {
    "chosen": ", which the customer chose",
    "answered": ", which the customer answers on most",
}


def _words(reason: str | None) -> str:
    return (reason or "").replace("_", " ")
