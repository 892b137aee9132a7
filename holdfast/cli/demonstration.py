"""`holdfast demo`: a made-up shop, a campaign, customers who answer it, its effect. All on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from holdfast import report
from holdfast.cli import serving
from holdfast.cli.reporting import write_pages
from holdfast.cli.sandbox import write_sandbox
from holdfast.cli.session import Session, operator
from holdfast.cli.shown import progress_bars, results_table, show, waterfall_table
from holdfast.demo.answers import answer
from holdfast.demo.conversations import answer_surveys, asking, write_back
from holdfast.demo.customers import Habits
from holdfast.demo.mail import MailServer
from holdfast.demo.shop import write_shop
from holdfast.demo.web_app import Endpoints
from holdfast.errors import OrchestrationError
from holdfast.orchestration.server import ensure_server, stop_server
from holdfast.report.formats import percent
from holdfast.responses import cases
from holdfast.store.imports import Kind, import_file

if TYPE_CHECKING:
    from holdfast.orchestration.running import Ended

_BACK = timedelta(days=15)  # the goal's fourteen days are over, for everybody
# Larger than life, so that a hundred held out are enough to see it, whoever they are.
_HABITS = Habits(effect=0.9, order=0.04)
_SEED = 7
_SHOWN_IN_SANDBOX = 50
_STOP_WITHIN = 60.0  # seconds
_STARTED_WITHIN = 300.0
_LOOK_EVERY = 0.5


def run(session: Session, customers: int) -> None:
    """Runs the whole demo in the project; all that it writes is under .holdfast/demo/.

    It starts from an empty shop every time. Its Prefect server and web app stay up to be looked at. Raises
    OrchestrationError when a run does not complete.
    """
    home = session.root / ".holdfast" / "demo"
    serving.stop_standing(home / "web.json")
    _empty(home)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with MailServer(home / "mail") as mail:
        endpoints = _settle_in(session.root, home, mail.port)
        session = Session(session.root)
        _fill_shop(session, home, customers, console)
        with console.status("Starting a Prefect server; this takes some 15 seconds the first time …"):
            ensure_server(home / "prefect", own=True)
        _deploy(session)
        with console.status("Starting the web app …"):
            web_app = serving.start_web_app(session.project, home / "web.log")
        if web_app is not None:
            serving.keep_standing(web_app, session.project, home / "web.json")
        with _worker(home / "up.log") as look:
            runs = _tell_the_story(session, home, endpoints, console, look)
    _show(session, home, endpoints, runs)


def stop(session: Session) -> bool:
    """Stops the demo's Prefect server and web app; False where none was up."""
    home = session.root / ".holdfast" / "demo"
    stopped = [serving.stop_standing(home / "web.json"), stop_server(home / "prefect")]
    return any(stopped)


def _empty(home: Path) -> None:
    """Removes what an earlier demo left, but for its Prefect server."""
    home.mkdir(parents=True, exist_ok=True)
    for path in home.iterdir():
        if path.name != "prefect":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _settle_in(root: Path, home: Path, mail_port: int) -> Endpoints:
    """The demo's settings: for this process, the web app, the worker and the flows that it starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoints = Endpoints(f"http://127.0.0.1:{port}", secrets.token_urlsafe(24), secrets.token_urlsafe(24))
    os.environ.update(
        HOLDFAST_PROJECT=str(root),
        HOLDFAST_DATABASE_URL=f"sqlite:///{home / 'demo.db'}",
        HOLDFAST_BRAND__PUBLIC_URL=endpoints.url,
        HOLDFAST_WEB__HOST="127.0.0.1",
        HOLDFAST_WEB__PORT=str(port),
        HOLDFAST_WEB__TOKENS__SHOP__TOKEN__ENV="DEMO_TOKEN",  # noqa: S106 - where it is
        HOLDFAST_WEB__TOKENS__SHOP__SCOPES="orders",
        **{
            f"HOLDFAST_CHANNELS__{name.upper()}__{setting}": value
            for name in ("email", "telegram", "sms", "x")
            for setting, value in (
                ("FOLDER", str(home / "sandbox" / name)),
                ("WEBHOOK_KEY__ENV", "DEMO_WEBHOOK_KEY"),
            )
        },
        HOLDFAST_CHANNELS__RECEIPTS__PORT=str(mail_port),
        HOLDFAST_CASES__RECOVERY="sorry",
        HOLDFAST_REFERRALS__URL="https://shop.example/welcome",
        # Nobody is asleep: the demo is to show the same at every hour.
        HOLDFAST_DEFAULTS__SEND__WINDOW="00:00-23:59",
        DEMO_TOKEN=endpoints.token,
        DEMO_WEBHOOK_KEY=endpoints.webhook_key,
    )
    return endpoints


def _fill_shop(session: Session, home: Path, customers: int, console: Console) -> None:
    now = datetime.now(UTC)
    with console.status("Making a shop …") as status, session.database() as database:
        files = write_shop(home / "shop", customers=customers, today=now.date())
        kinds: tuple[Kind, ...] = ("customers", "orders", "lines", "events")
        for kind in kinds:
            path: Path = getattr(files, kind)
            status.update(f"Importing {kind} …")
            rejects = path.with_suffix(".rejects.csv")
            done = import_file(
                database, session.project, session.secret, kind, path, now=now, rejects=rejects
            )
            console.print(f"imported {done.kept:,} {kind}")


def _deploy(session: Session) -> None:
    from holdfast.orchestration import deployments

    with session.workspace() as ws:
        deployments.deploy(ws.project, [source.campaign for source in ws.sources.values()])


@contextmanager
def _worker(log: Path) -> Iterator[Callable[[], None]]:
    """`holdfast up` beside us, as an operator would run it; it uses the servers that are up.

    Gives what raises OrchestrationError when it is gone.
    """

    def look() -> None:
        if worker.poll() is not None:
            raise OrchestrationError("the worker stopped", hint=f"its log is {log}")

    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "holdfast.cli", "up"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield look
        finally:
            serving.stop(worker, _STOP_WITHIN)


def _tell_the_story(
    session: Session, home: Path, endpoints: Endpoints, console: Console, look: Callable[[], None]
) -> dict[str, Ended]:
    """Send, be answered, thank, tell regulars the news, ask how it was, collect, see to complaints, measure:
    each flow through Prefect."""
    from holdfast.orchestration import deployments, running

    def through_prefect(name: str, as_of: datetime | None = None) -> Ended:
        def shown(state: str) -> None:
            status.update(f"Running {name} through Prefect: {state} …")
            look()

        with console.status(f"Running {name} through Prefect …") as status:
            if name in (deployments.COLLECT, deployments.REFRESH):
                ended = running.run_deployed_flow(session.root, name, while_waiting=shown)
            else:
                ended = running.run_deployed(name, key="demo", as_of=as_of, while_waiting=shown)
        console.print(f"ran {name}: {ended.message}")
        if ended.state != "Completed":
            raise OrchestrationError(f"the run of {name} ended as {ended.state}", hint=f"look at {ended.url}")
        return ended

    since = datetime.now(UTC) - _BACK
    console.print(
        f"winback is run as of {since:%Y-%m-%d}: a verdict needs its 14 days to be over. Quiet hours are off."
    )
    runs = {"winback": through_prefect("winback", since)}
    with progress_bars() as progress:
        did = answer(
            home / "sandbox" / "email",
            home / "shop" / "customers.csv",
            endpoints,
            _HABITS,
            seed=_SEED,
            since=since,
            now=datetime.now(UTC),
            progress=lambda done, total: progress("answer", done, total),
        )
    console.print(f"customers: {_told(did)}")
    for name in ("thanks", "news", "feedback"):
        runs[name] = through_prefect(name)
    sandbox, now = home / "sandbox", datetime.now(UTC)
    phones = {name: sandbox / name for name in ("email", "telegram", "sms")}
    did = write_back(phones, sandbox / "x", endpoints, now) + answer_surveys(sandbox / "email", endpoints)
    console.print(f"customers: {_told(did)}")
    runs[deployments.COLLECT] = through_prefect(deployments.COLLECT)
    with console.status("Saying sorry to who has complained …"):
        _wait_until_done(session, "sorry", now, look)
    _see_to_a_complaint(session, console)
    runs[deployments.REFRESH] = through_prefect(deployments.REFRESH)
    return runs


def _told(did: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in did.items())


def _wait_until_done(session: Session, campaign: str, since: datetime, look: Callable[[], None]) -> None:
    """Waits for the campaign's run that a flow has started since then."""
    give_up = time.monotonic() + _STARTED_WITHIN
    with session.workspace() as ws:
        while not any(
            found.run.state == "done" and found.run.as_of > since
            for found in report.status(ws, datetime.now(UTC), campaign)
        ):
            look()
            if time.monotonic() > give_up:
                raise OrchestrationError(f"no run of {campaign} is done", hint="look at it in the Prefect UI")
            time.sleep(_LOOK_EVERY)


def _see_to_a_complaint(session: Session, console: Console) -> None:
    """Does what an operator does with the first complaint in words: reads, answers and closes it."""
    with session.workspace() as ws:
        waiting = cases.list_cases(ws)
        [first, *_] = [case for case in waiting if case.reason == "reply"]
        now, who = datetime.now(UTC), operator()
        cases.answer(ws, first.id, "We are sorry. A new parcel is on its way to you.", who, now)
        cases.close(ws, first.id, "sent again", who, now)
    console.print(f"complaints: {len(waiting):,} cases were opened; case {first.id} is answered and closed")


def _show(session: Session, home: Path, endpoints: Endpoints, runs: Mapping[str, Ended]) -> None:
    from holdfast.orchestration.running import ui_url

    now = datetime.now(UTC)
    with session.workspace() as ws:
        for status in reversed(report.status(ws, now)):
            name, id_ = status.run.campaign, status.run.id
            print()
            show(f"{name}: from the rule to the messages", waterfall_table(report.waterfall(ws, id_)))
            if became := report.results(ws, id_):
                print()
                show(f"{name}: what became of them", results_table(became))
        reports = {name: report.campaign_report(ws, name, now) for name in report.campaigns_with_runs(ws)}
        sheet = report.kpi_sheet(ws, report.month_before(ws, now), now)
    winback = reports["winback"]
    [index, *_] = write_pages(home / "report", list(reports.values()), sheet)
    survey = asking(home / "sandbox" / "email", endpoints.url)[0]
    _, sandbox = write_sandbox(session.project, home / "sandbox", _SHOWN_IN_SANDBOX)
    print()
    show("winback: what customers did", results_table(_funnel(winback)))
    print()
    show("winback: what came of it", results_table(_arms(winback)))
    print(f"\nThe verdict: {winback.headline}")
    print(f"What was planted: {_HABITS.uplift_per_letter * 100:+.1f} points a letter")
    print(f"What customers say: {reports['feedback'].headline}")
    print(
        f"""
Where to look
  reports             {_shown(index)}
  Prefect UI          {ui_url()}
"""
        + "".join(f"    {name:18}{ended.url}\n" for name, ended in runs.items())
        + f"""\
  web app             {endpoints.url} (follow a link in one of the messages)
  survey              {endpoints.url}{survey}
  messages (sandbox)  {_shown(sandbox)}
  messages (smtp)     {_shown(home / "mail")}

The Prefect server and the web app stay up: holdfast demo --stop ends them. To ask this shop more:
  export HOLDFAST_DATABASE_URL={os.environ["HOLDFAST_DATABASE_URL"]}
  holdfast status
  holdfast why winback C000042
  holdfast preview winback --customer C000042
  holdfast cases
  holdfast conversations"""
    )


def _funnel(winback: report.CampaignReport) -> list[dict[str, str | int]]:
    stages = ("accepted", "delivered", "opened", "clicked", "unsubscribed", "complained", "bounced")
    return [
        {"step": step.step, "variant": variant} | {stage: getattr(funnel, stage) for stage in stages}
        for step in winback.funnels
        for variant, funnel in step.variants.items()
    ]


def _arms(winback: report.CampaignReport) -> list[dict[str, str | int]]:
    rates = {name: arm.conversions_per_assigned for name, arm in winback.arms.items()}
    return [
        {
            "arm": name,
            "assigned": rate.denominator,
            "converted": rate.numerator,
            "of assigned": percent(rate.value),
        }
        for name, rate in rates.items()
    ]


def _shown(path: Path) -> Path:
    """The path as seen from the working directory, where it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
