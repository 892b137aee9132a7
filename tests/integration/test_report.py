"""What campaigns and months are reported as, from the ledger of a real database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from holdfast import report
from holdfast.campaign.models import Goal
from holdfast.cli import main
from holdfast.delivery import open_run
from holdfast.errors import RunError
from holdfast.metrics.rates import Rate
from holdfast.metrics.surveys import Csat, Nps
from holdfast.orchestration.artifacts import escape_markdown, kpi_page, report_page
from holdfast.report.campaigns import RunResult
from holdfast.responses import Answer, answer, collect
from holdfast.responses import cases as casework
from holdfast.store import conversions
from holdfast.store.inbox import Inbox
from holdfast.tables import messages
from tests.fakes import made_up_reports
from tests.integration.conftest import NOW, Bench

GOAL = {"event": "order", "within": "14d"}
VARIANTS = {"plain": {"weight": 1}, "warm": {"weight": 1}}


def campaign(bench: Bench, **fields: object) -> str:
    steps = [{"id": "hello", "channels": ["sms"], "template": "note", "variants": VARIANTS}]
    return bench.campaign("winback", **({"steps": steps, "goal": GOAL, "holdout": "25%"} | fields))


def buy(bench: Bench, arm: str, every: int) -> int:
    """Every so many of the arm buy a day after they were enrolled; how many."""
    bought = bench.enrollments(arm=arm)[::every]
    for row in bought:
        bench.shop.order(row.customer_id, row.enrolled_at + timedelta(days=1))
    return len(bought)


def convert(bench: Bench) -> None:
    conversions.refresh(bench.ws.database, "winback", Goal.model_validate(GOAL), bench.clock.now)


def test_a_report_is_over_those_whose_window_is_over_and_says_who_is_to_come(bench: Bench) -> None:
    bench.shop.customers(80)
    campaign(bench)
    bench.run("winback", "k1")
    treated, holdout = buy(bench, "treated", 4), buy(bench, "holdout", 10)
    bench.clock.advance(days=14)
    early = report.campaign_report(bench.ws, "winback", bench.clock.now - timedelta(seconds=1))
    assert early.verdict is not None
    assert (early.verdict.kind, early.matured, early.assigned) == ("immature", 0, 80)
    assert early.orders.orders is None
    bench.shop.customers(30)
    bench.run("winback", "k2")
    convert(bench)

    told = report.campaign_report(bench.ws, "winback", bench.clock.now)
    assert (told.assigned, told.matured, told.matures_at) == (110, 80, bench.clock.now + timedelta(days=14))
    assert told.arms["treated"].converted == treated
    assert told.arms["holdout"].converted == holdout
    assert told.arms["treated"].value == treated * 100
    assert told.arms["treated"].assigned + told.arms["holdout"].assigned == 80
    assert sum(arm.assigned for arm in told.variants.values()) == told.arms["treated"].assigned
    assert told.holdout_share == 0.25
    n, held = (told.arms[arm].assigned for arm in ("treated", "holdout"))
    assert told.orders.orders is not None
    assert told.orders.revenue is not None
    assert told.orders.orders.amount == pytest.approx(treated - holdout * n / held)
    assert told.orders.revenue.amount == pytest.approx(100 * told.orders.orders.amount)
    assert [(run.occurrence, run.assigned, run.matured) for run in told.runs] == [
        ("k1", 80, 80),
        ("k2", 30, 0),
    ]
    assert told.verdict is not None
    assert told.runs[0].uplift == told.verdict.uplift
    assert told.runs[1].uplift is None
    assert [row.label for row in told.effects] == ["all runs", "2026-06-03"]
    assert told.headline in report.html(told)


def test_a_share_that_changed_between_runs_is_no_mismatch_and_each_is_compared_in_itself(
    bench: Bench,
) -> None:
    for key, holdout, count, every in (("k1", "5%", 400, 2), ("k2", "0%", 100, 1), ("k3", "50%", 300, 30)):
        bench.shop.customers(count)
        campaign(bench, holdout=holdout)
        run_id = bench.start("winback", key)
        for arm in ("treated", "holdout"):
            for row in bench.enrollments(run_id=run_id, arm=arm)[::every]:
                bench.shop.order(row.customer_id, row.enrolled_at + timedelta(days=1))
        bench.clock.advance(days=15)
    convert(bench)
    campaign(bench, holdout="0%")
    told = report.campaign_report(bench.ws, "winback", bench.clock.now)
    assert told.holdout_share == pytest.approx((400 * 0.05 + 300 * 0.5) / 800)
    assert told.verdict is not None
    assert told.verdict.srm_p is not None
    assert (told.verdict.kind, told.verdict.srm_p > 0.01) == ("cannot_tell", True)
    assert told.effects[0].uplift == told.verdict.uplift


def test_a_run_that_was_broken_off_goes_on_at_the_share_it_began_with(bench: Bench) -> None:
    bench.shop.customers(60)
    campaign(bench, holdout="50%")
    run = open_run(bench.ws, "winback", "k1", NOW, NOW)
    campaign(bench, holdout="0%")
    bench.start("winback", "k1")
    assert run.holdout == 0.5
    assert len(bench.enrollments(arm="holdout")) > 10
    campaign(bench, purpose="transactional")
    assert open_run(bench.ws, "winback", "k2", NOW, NOW).holdout is None


def test_what_came_after_the_moment_of_a_report_is_not_in_it(bench: Bench) -> None:
    bench.shop.customers(10)
    campaign(bench)
    bench.run("winback", "k1")
    then = bench.clock.now
    bench.clock.advance(days=5)
    bench.shop.customers(10)
    bench.run("winback", "k2")
    told = report.campaign_report(bench.ws, "winback", then)
    assert (told.assigned, told.matures_at) == (10, then + timedelta(days=14))


def test_messages_are_counted_by_step_channel_and_variant_people_and_machines_apart(bench: Bench) -> None:
    bench.shop.customers(40)
    campaign(bench, holdout="0%")
    bench.run("winback")
    with bench.ws.database.write() as connection:
        connection.execute(update(messages).values(delivered_at=NOW, machine_opened_at=NOW))
        connection.execute(update(messages).where(messages.c.variant == "warm").values(clicked_at=NOW))
    told = report.campaign_report(bench.ws, "winback", NOW)
    assert told.verdict is not None
    assert told.verdict.kind == "no_holdout"
    (funnel,) = told.funnels
    assert (funnel.step, funnel.channel, sorted(funnel.variants)) == ("hello", "sms", ["plain", "warm"])
    warm = len(bench.messages(variant="warm"))
    assert (funnel.total("delivered"), funnel.total("machine_opened"), funnel.total("opened")) == (40, 40, 0)
    assert (funnel.variants["warm"].clicked, funnel.variants["plain"].clicked) == (warm, 0)


def test_a_campaign_without_a_goal_has_no_verdict_and_one_that_is_not_there_no_report(bench: Bench) -> None:
    bench.shop.customers(4)
    campaign(bench, goal=None)
    assert report.campaigns_with_runs(bench.ws) == []
    bench.run("winback")
    assert report.campaigns_with_runs(bench.ws) == ["winback"]
    told = report.campaign_report(bench.ws, "winback", NOW)
    assert (told.verdict, told.arms, told.effects, told.assigned) == (None, {}, [], 4)
    assert told.headline.startswith("No goal")
    with pytest.raises(RunError, match="did you mean 'winback'"):
        report.campaign_report(bench.ws, "winbck", NOW)


def test_what_customers_answer_is_in_the_campaigns_report_and_the_months_sheet(bench: Bench) -> None:
    bench.shop.customers(4)
    bench.edit("ask.sms.txt", "{{ links.survey }}")
    step = {"id": "ask", "channels": ["sms"], "template": "ask"}
    bench.campaign("feedback", steps=[{**step, "survey": "nps"}])
    bench.campaign("kindness", steps=[{**step, "survey": "csat"}])
    bench.run("feedback")
    for message, scores in zip(bench.messages(), ([9], [2, 10], [6], []), strict=True):
        for score in scores:
            bench.clock.advance(seconds=1)
            answer(Inbox(bench.ws.database), message.id, Answer("nps", score, "Tea"), bench.clock.now)
    collect(bench.ws, bench.clock.now)
    told = report.campaign_report(bench.ws, "feedback", bench.clock.now)
    [survey] = told.surveys
    assert (survey.step, survey.total.result) == ("ask", Nps(2, 0, 1))
    assert survey.total.answers_per_delivered == Rate(3, 4)
    assert [(occurrence, wave.answers) for occurrence, wave in survey.runs] == [("k1", {9: 1, 10: 1, 6: 1})]
    assert told.headline.startswith("NPS +33 (")
    assert r"| all | \+33 |" in report_page(told)
    bench.clock.advance(seconds=1)
    june = report.kpi_sheet(bench.ws, NOW.year * 12 + 5, bench.clock.now)
    assert (june.month.nps, june.month.response_rate("nps")) == (Nps(2, 0, 1), Rate(3, 4))
    assert (june.month.csat, june.month.response_rate("csat")) == (Csat(0, 0, 0), Rate(0, 0))
    assert r"| NPS | \+33 |" in kpi_page(june)
    assert [row.answered_at is not None for row in bench.messages()] == [True, True, True, False]


def test_a_sheet_has_its_month_and_the_twelve_before_and_ends_where_time_does(bench: Bench) -> None:
    ids = bench.shop.customers(10)
    for id_ in ids:
        bench.shop.order(id_, NOW - timedelta(days=60))
    for id_ in ids[:4]:
        bench.shop.order(id_, NOW - timedelta(days=20))
    campaign(bench)
    bench.run("winback")
    may, june = NOW.year * 12 + 4, NOW.year * 12 + 5
    sheet = report.kpi_sheet(bench.ws, may, NOW)
    assert report.month_before(bench.ws, NOW) == may
    assert (len(sheet.months), sheet.month.name, sheet.complete) == (13, "May 2026", True)
    assert sheet.month.sums.retention.crr.value == 1
    assert (sheet.month.sums.repurchase.rpr.numerator, sheet.month.sums.sales.orders) == (4, 4)
    assert sheet.month.clv == pytest.approx(100 * 1.4 * 3)
    assert sheet.engagement == {}
    so_far = report.kpi_sheet(bench.ws, june, NOW)
    assert (so_far.complete, so_far.engagement["sms"].accepted) == (False, len(bench.messages()))
    assert "June 2026, so far" in report.html(so_far)
    with pytest.raises(RunError, match="July 2026 has not begun"):
        report.kpi_sheet(bench.ws, june + 1, NOW)


def test_cases_are_in_the_sheet_of_the_month_they_were_opened_in(bench: Bench) -> None:
    bench.shop.customers(4)
    for id_ in range(1, 5):
        casework.open_case(bench.ws, f"c{id_}", "called us", "ann", NOW)
    hour = timedelta(hours=1)
    for case_id, step, at in ((1, "answer", 2), (2, "answer", 4), (1, "close", 5), (3, "close", 30)):
        getattr(casework, step)(bench.ws, case_id, "text", "ann", NOW + at * hour)
    casework.open_case(bench.ws, "c3", "called again", "ann", NOW + 40 * hour)
    sheet = report.kpi_sheet(bench.ws, NOW.year * 12 + 5, NOW + 50 * hour)
    care = sheet.care
    assert (care.opened, care.still_open, care.reopened_per_closed) == (4, 3, Rate(1, 2))
    assert (care.first_answer.n, care.first_answer.ended, care.first_answer.median) == (4, 2, 4 * 3600)
    assert (care.resolution.n, care.resolution.ended, care.resolution.median) == (4, 1, None)
    assert r"| First answer | 4 h \(2 h to –\) |" in kpi_page(sheet)
    before = report.kpi_sheet(bench.ws, NOW.year * 12 + 5, NOW + 3 * hour).care
    assert (before.first_answer.ended, before.resolution.ended) == (1, 0)


# --- in the Prefect UI ----------------------------------------------------------------------------


def test_pages_for_prefect_hold_their_plots_and_no_markup_of_others() -> None:
    page = report_page(made_up_reports.campaign(name="win_back"))
    assert page.startswith(r"# \+5\.1 points \(1\.0 to 8\.2\): more customers converted")
    assert page.count("](data:image/svg+xml;base64,") == 3
    assert r"| treated | 2,214 | 276 | 12\.5% | 11\.2 to 13\.9% |" in page
    told = made_up_reports.campaign(goal=None, verdict=None, arms={}, funnels=[], runs=[])
    hostile = report_page(replace(told, runs=[RunResult("a|b](x)<i>", "done", NOW, 1, {})]))
    assert r"a\|b\]\(x\)&lt;i\>" in hostile
    assert escape_markdown("Hello https://evil/x at 09:00") == r"Hello https\://evil/x at 09:00"
    sheet = kpi_page(made_up_reports.kpi_sheet(complete=False))
    assert sheet.startswith("# October 2026, so far")
    assert r"| Retention \(CRR\) | 90\.0% |" in sheet


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a campaign that has not run."""
    (tmp_path / "holdfast.yaml").write_text("channels: {email: {adapter: sandbox}}\n")
    for name in ("campaigns", "templates"):
        (tmp_path / name).mkdir()
    (tmp_path / "templates" / "note.email.html").write_text(
        "{% block subject %}S{% endblock %}{% block body %}B{% endblock %}"
    )
    (tmp_path / "campaigns" / "hello.yaml").write_text(
        "campaign: hello\naudience: {country: DE}\ngoal: {event: order, within: 14d}\nholdout: 10%\n"
        "steps: [{id: first, channels: [email], template: note}]\n".replace("\\\n", "\n")
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_the_command_writes_an_index_a_page_a_campaign_and_the_sheet(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("report", "-o", "out", "--as-of", "2026-11-09") == 0
    assert sorted(path.name for path in (project / "out").iterdir()) == ["index.html", "kpis-2026-10.html"]
    assert call("report", "hello", "-o", "one") == 0
    assert sorted(path.name for path in (project / "one").iterdir()) == ["hello.html"]
    assert "Nobody is enrolled yet." in (project / "one" / "hello.html").read_text()
    assert call("report", "--month", "2026-09", "-o", "sheet") == 0
    assert sorted(path.name for path in (project / "sheet").iterdir()) == ["kpis-2026-09.html"]
    assert "written: out/index.html" not in capsys.readouterr().out


def test_the_command_prints_facts_as_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", "hello", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    (told,) = facts["campaigns"]
    assert (told["name"], told["goal"]["within"], told["verdict"]["kind"]) == ("hello", "14d", "immature")
    assert call("report", "--month", "2026-09", "--json") == 0
    month = json.loads(capsys.readouterr().out)["kpis"]["months"][-1]
    assert month["month"] == "2026-09"
    assert month["crr"] == {"numerator": 0, "denominator": 0, "value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody",), 1, "there is no campaign 'nobody'"),
        (("--month", "October"), 2, "write it like 2026-10"),
        (("--month", "0001-01"), 2, "write it like 2026-10"),
        (("--month", "9999-12"), 2, "write it like 2026-10"),
        (("hello", "--month", "2026-10"), 2, "a KPI sheet is of all campaigns"),
        (("--month", "2199-01"), 1, "January 2199 has not begun"),
    ],
)
def test_what_cannot_be_reported_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert call("report", *arguments) == code
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
