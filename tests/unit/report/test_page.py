from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

from holdfast import report
from holdfast.campaign.models import Goal
from holdfast.metrics.effects import verdict
from holdfast.metrics.referral import Referral
from holdfast.report.campaigns import StepFunnel
from holdfast.report.orders import OrderResults
from holdfast.store.aggregates import ArmSums
from tests.fakes import made_up_reports

HOSTILE = '</p><script>alert(1)</script><img src="https://evil.example/x.png">{{ 7*7 }}'
VOID = {"meta", "link", "br", "img", "rect", "use", "path"}


class Reader(HTMLParser):
    """Checks that tags close in order; keeps what is referred to, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.references: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [
            value or "" for name, value in attributes if name in ("src", "href", "xlink:href")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.references += [
            value or "" for name, value in attributes if name in ("src", "href", "xlink:href")
        ]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += f" {data}"


def words(page: str) -> str:
    return " ".join(Reader(page).text.split())


def test_the_verdict_comes_first_then_what_it_rests_on() -> None:
    shown = words(report.html(made_up_reports.campaign()))
    verdict_at = shown.index("+5.1 points (1.0 to 8.2): more customers converted than without the campaign")
    meaning_at = shown.index(
        "Of 2,214 treated customers, about 114 converted who would not have without it: 22 to"
    )
    basis_at = shown.index(
        "Over 2,460 customers whose window is over. 1,230 are still in theirs, until 19 Nov"
    )
    assert verdict_at < meaning_at < basis_at < shown.index("Effect") < shown.index("Messages")


def test_rates_carry_numerator_denominator_and_interval() -> None:
    shown = words(report.html(made_up_reports.campaign()))
    assert "276 of 2,214 11.2 to 13.9%" in shown
    assert "18 of 246 4.7 to 11.3%" in shown
    assert "1 of 1,617 0.01 to 0.35%" in shown


def test_a_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    for each in (made_up_reports.campaign(), made_up_reports.kpi_sheet()):
        reader = Reader(report.html(each))
        assert not reader.tags & {"script", "img", "iframe", "form"}
        assert all(place.startswith(("#", "data:")) for place in reader.references)


def test_what_people_wrote_is_text() -> None:
    hostile = made_up_reports.campaign(description=HOSTILE, owner=HOSTILE, brand=HOSTILE)
    hostile = replace(hostile, runs=[replace(hostile.runs[0], occurrence=HOSTILE)])
    page = report.html(hostile)
    assert Reader(page).tags.isdisjoint({"script", "img"})
    assert words(page).count(HOSTILE) == 5  # title, brand, description, owner, occurrence


def test_without_a_goal_nothing_is_claimed_and_no_rate_of_conversion_shown() -> None:
    shown = words(
        report.html(made_up_reports.campaign(goal=None, verdict=None, arms={}, variants={}, runs=[]))
    )
    assert "No goal: the campaign does not say what it is for" in shown
    assert "Converted" not in shown
    assert "Uplift, points" in shown


def test_money_is_of_orders_and_no_other_goal_has_any() -> None:
    trial = Goal(event="trial_started", within=timedelta(days=7))
    assert "Value per assigned" in words(report.html(made_up_reports.campaign()))
    assert "Value per assigned" not in words(report.html(made_up_reports.campaign(goal=trial)))


def test_arms_that_are_not_what_was_drawn_are_not_compared() -> None:
    arms = {"treated": ArmSums(1800, 276, 301, 0), "holdout": ArmSums(100, 2, 2, 0)}
    told = made_up_reports.campaign(
        arms=arms, verdict=verdict(arms["treated"], arms["holdout"], 0.1, True), runs=[]
    )
    assert told.headline.startswith("Sample ratio mismatch")
    assert told.effects == []


def test_a_month_that_is_not_over_says_so_wherever_it_stands() -> None:
    over, so_far = (words(report.html(made_up_reports.kpi_sheet(complete=each))) for each in (True, False))
    assert "still were at its end (95%" in over
    assert "so far" not in over
    assert "still are (95%" in so_far
    assert "October 2026, so far" in so_far
    assert "Oct 2026, so far" in so_far


def test_a_window_that_is_not_over_is_said_so() -> None:
    nobody = {arm: ArmSums(0, 0, 0, 0) for arm in ("treated", "holdout")}
    early = made_up_reports.campaign(
        arms=nobody, variants={}, verdict=verdict(nobody["treated"], nobody["holdout"], 0.1, False)
    )
    assert "All 3,690 customers enrolled are still in their window, until 19 November 2026" in words(
        report.html(early)
    )


def test_where_nothing_can_be_told_no_customers_are_counted_as_won() -> None:
    few = {"treated": ArmSums(440, 40, 41, 0), "holdout": ArmSums(49, 4, 4, 0)}
    cannot = made_up_reports.campaign(arms=few, verdict=verdict(few["treated"], few["holdout"], 0.1, True))
    assert cannot.headline.startswith("Cannot tell yet: +0.9 points (−10.3 to 6.7)")
    assert cannot.meaning == ""


def test_harm_is_counted_in_customers_too() -> None:
    arms = {"treated": ArmSums(2000, 100, 100, 0), "holdout": ArmSums(2000, 160, 160, 0)}
    worse = made_up_reports.campaign(arms=arms, verdict=verdict(arms["treated"], arms["holdout"], 0.5, True))
    assert worse.meaning.startswith("Of 2,000 treated customers, about 60 did not convert who would have")


def test_without_receipts_clicks_are_of_the_accepted() -> None:
    silent = StepFunnel("hello", "sms", {"": made_up_reports.funnel(1000, 80, 0, receipts=False)})
    shown = words(report.html(made_up_reports.campaign(funnels=[silent])))
    assert "clicked per accepted 8.1% 80 of 988" in shown
    assert "clicked by machines" not in shown


def test_undefined_kpis_are_dashes_never_zeros() -> None:
    shown = words(report.html(made_up_reports.kpi_sheet()))
    assert "90.0% of customers stayed 3,456 of the 3,840 customers" in shown
    assert "at the end 90.0% 3,456 of 3,840 89.0 to 90.9% 89.0% – Churn (CCR)" in shown
    assert "Oct 2025 – 28.0%" in shown


def test_complaints_are_told_with_what_is_not_over_yet_and_are_left_out_where_there_are_none() -> None:
    shown = words(report.html(made_up_reports.kpi_sheet(care=made_up_reports.care([1, 2, 5, 30, 50]))))
    assert "Cases opened in the month; 1 were open at its end 6" in shown
    assert "First answer half were answered by then; 5 of 6 are so far 5 h (1 h to –)" in shown
    assert "Resolution half were closed by then; 5 of 6 are so far 10 h (2 h to –)" in shown
    assert "Opened again 1 of 5 that were closed 20.0% (3.6 to 62.4%)" in shown
    assert "complaints were dealt with" not in words(report.html(made_up_reports.kpi_sheet()))


def test_a_survey_is_told_with_its_scale_its_interval_and_who_answered() -> None:
    asked = {"goal": None, "verdict": None, "arms": {}, "variants": {}, "runs": []}
    told = made_up_reports.campaign(**asked, surveys=[made_up_reports.survey()])
    assert told.headline == "NPS +57 (+47 to +67)"
    assert told.basis == "By 155 customers who answered: 13.0% of the messages that arrived."
    shown = words(report.html(told))
    assert "all runs +57 +47 to +67 13.0% 155 of 1,190 11.2 to 15.1% 65.2% 101 of 155" in shown
    assert "2026-10-12T07:00:00Z – 0.0% 0 of 580" in shown
    assert "On a scale from 0 to 10." in shown
    assert "detractors 8.4%" in shown
    asked["surveys"] = [made_up_reports.survey("csat")]
    shown = words(report.html(made_up_reports.campaign(**asked)))
    assert "all runs 84.2% 101 of 120 76.6 to 89.6% 10.1% 120 of 1,190 8.5 to 11.9% 4.2" in shown


def test_a_campaign_with_a_goal_is_judged_by_it_whatever_it_asks() -> None:
    told = made_up_reports.campaign(surveys=[made_up_reports.survey()])
    assert told.headline.startswith("+5.1 points")
    assert "ask: NPS" in words(report.html(told))


def test_a_month_shows_surveys_where_any_was_asked() -> None:
    sheet = made_up_reports.kpi_sheet()
    assert "What they said" not in words(report.html(sheet))
    asked = replace(sheet.months[-1], surveys={"nps": made_up_reports.survey().total})
    shown = words(report.html(replace(sheet, months=[*sheet.months[:-1], asked])))
    assert "points from −100 to 100 +57 155 answers +47 to +67 – – NPS, answered" in shown
    assert "CSAT" not in shown


def test_a_month_tells_who_came_by_recommendation_where_anybody_did() -> None:
    referral = Referral(customers=9_000, visits=412, inviters=288, came=96, ordered=61)
    shown = words(report.html(made_up_reports.kpi_sheet(referral=referral)))
    assert "Invitations looked at of 288 customers 412 Customers who came 96" in shown
    assert "Of them ordered 63.5% 61 of 96" in shown
    assert "Invites a customer × conversion buyers that an active customer brings 0.68%" in shown
    assert "recommendation" not in words(report.html(made_up_reports.kpi_sheet()))


def test_the_index_leads_to_every_page() -> None:
    found, sheet = (
        [made_up_reports.campaign(), made_up_reports.campaign(name="thanks")],
        made_up_reports.kpi_sheet(),
    )
    page = report.index(found, sheet)
    assert [place for place in Reader(page).references if place != "data:,"] == [
        "winback.html",
        "thanks.html",
        "kpis-2026-10.html",
    ]
    assert "No campaign has run yet" in words(report.index([], sheet))


def test_what_came_after_a_message_stands_beside_what_came_because_of_it() -> None:
    shown = words(report.html(made_up_reports.campaign()))
    assert "The two answer different questions and are never added." in shown
    assert "Attributed 274 231 after a click €15,023.00 Incremental +130 23 to 237 +€7,348.50" in shown
    attributed = made_up_reports.campaign().orders.attributed
    alone = words(report.html(made_up_reports.campaign(orders=OrderResults(attributed))))
    assert "€15,023.00 Incremental – –" in alone
    nothing = OrderResults(replace(attributed, orders=0, revenue=0, after_click=0))
    assert "Attributed" not in words(report.html(made_up_reports.campaign(orders=nothing)))
