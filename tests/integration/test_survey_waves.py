"""What surveys came to, by run and by month, from answers in a real database."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from holdfast.cli import main
from holdfast.metrics.rates import Rate
from holdfast.metrics.surveys import Wave
from holdfast.store.database import Database
from holdfast.store.surveys import StepWaves, campaign_waves, monthly_waves
from holdfast.surveys import SCALES
from holdfast.tables import campaign_versions, customers, enrollments, messages, responses, runs
from holdfast.wiring import open_workspace
from tests.integration.conftest import NOW

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


class Asking:
    """Runs of campaigns that ask customers, who answer; all in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ids = Counter[str]()
        for id_ in range(1, 31):
            self.put(customers, id=id_, external_id=f"c{id_}", draw=id_, created_at=NOW, updated_at=NOW)

    def put(self, table: Any, **row: Any) -> int:
        self.ids[table.name] += 1
        self.connection.execute(insert(table).values({"id": self.ids[table.name]} | row))
        return self.ids[table.name]

    def run(self, campaign: str = "feedback") -> int:
        version = {"campaign": campaign, "source": "", "digests": {}, "created_at": NOW}
        version_id = self.put(campaign_versions, **version, digest=f"d{self.ids['runs']}")
        row = {"campaign": campaign, "state": "done", "as_of": NOW, "created_at": NOW}
        return self.put(runs, **row, occurrence=f"k{self.ids['runs']}", version_id=version_id)

    def ask(self, run: int, customer: int, step: str = "ask", **fields: Any) -> int:
        """The id of a message that was delivered."""
        entry = {"customer_id": customer, "arm": "treated", "enrolled_at": NOW, "campaign": f"c{run}"}
        enrollment = self.put(enrollments, **entry, run_id=run, entry=self.ids["enrollments"] + 1)
        row = {"enrollment_id": enrollment, "run_id": run, "customer_id": customer, "step": step}
        row |= {
            "channel": "email",
            "kind": "email",
            "purpose": "marketing",
            "state": "accepted",
            "due_at": NOW,
        }
        return self.put(messages, **row | {"sent_at": NOW, "delivered_at": NOW} | fields)

    def answer(
        self, message: int, customer: int, score: int, at: datetime = NOW, survey: str = "nps"
    ) -> None:
        row = {"message_id": message, "customer_id": customer, "occurred_at": at, "received_at": at}
        row |= {"kind": "answered", "survey": survey, "score": score, "channel": ""}
        self.put(responses, **row, event_id=f"e{self.ids['responses']}")
        answered = messages.update().where(messages.c.id == message).values(answered_at=at)
        self.connection.execute(answered)

    def of_campaign(self, **asked: Any) -> list[StepWaves]:
        return campaign_waves(self.connection, "feedback", asked)


@pytest.fixture
def asking(database: Database) -> Iterator[Asking]:
    with database.write() as connection:
        yield Asking(connection)


def test_the_latest_answer_of_a_customer_counts_in_each_run_and_in_all_of_them(asking: Asking) -> None:
    first, second = asking.run(), asking.run()
    sent = {(run, who): asking.ask(run, who) for run in (first, second) for who in (1, 2, 3)}
    asking.answer(sent[first, 1], 1, 10, NOW)
    asking.answer(sent[first, 1], 1, 2, NOW + MINUTE)
    asking.answer(sent[first, 2], 2, 9, NOW + MINUTE)
    asking.answer(sent[second, 1], 1, 8, NOW + DAY)
    asking.put(
        responses, channel="", event_id="r", kind="replied", message_id=sent[first, 3], customer_id=3,
        occurred_at=NOW, received_at=NOW,
    )  # fmt: skip
    other = asking.run("another")
    asking.answer(asking.ask(other, 4), 4, 0)
    [found] = asking.of_campaign(ask="nps")
    assert (found.step, found.survey) == ("ask", "nps")
    assert found.runs == {first: Wave("nps", 3, 2, {2: 1, 9: 1}), second: Wave("nps", 3, 1, {8: 1})}
    assert found.total == Wave("nps", 6, 3, {8: 1, 9: 1})
    assert found.total.answers_per_delivered == Rate(3, 6)


def test_a_survey_that_nobody_answered_has_its_delivered_and_no_score(asking: Asking) -> None:
    run = asking.run()
    asking.ask(run, 1)
    asking.ask(run, 2, state="rejected", sent_at=None, delivered_at=None)
    asking.ask(run, 3, step="hello")
    assert asking.of_campaign() == []
    [found] = asking.of_campaign(ask="csat")
    assert found.runs == {run: Wave("csat", 1, 0, {})}
    assert found.total.answers_per_delivered == Rate(0, 1)


def test_a_channel_without_receipts_counts_what_it_took_beside_one_that_gives_them(asking: Asking) -> None:
    run = asking.run()
    by_email = [asking.ask(run, who, delivered_at=None if who == 3 else NOW) for who in (1, 2, 3, 4)]
    silent = {"channel": "sms", "kind": "sms", "delivered_at": None}
    by_sms = [asking.ask(run, who, **silent) for who in (5, 6)]
    asking.answer(by_email[2], 3, 9)  # its receipt is still to come
    asking.answer(by_sms[0], 5, 9)
    [found] = asking.of_campaign(ask="nps")
    assert found.total == Wave("nps", 6, 2, {9: 2})


def test_a_step_that_asked_something_else_before_keeps_what_it_was_answered(asking: Asking) -> None:
    before, since, gone = asking.run(), asking.run(), asking.run()
    asking.answer(asking.ask(before, 1), 1, 5, survey="csat")
    asking.ask(since, 1)
    asking.answer(asking.ask(gone, 2, step="old"), 2, 3)
    found = {(each.step, each.survey): each for each in asking.of_campaign(ask="nps")}
    assert found["ask", "csat"].runs == {before: Wave("csat", 1, 1, {5: 1})}
    assert found["ask", "nps"].runs == {since: Wave("nps", 1, 0, {})}
    assert found["old", "nps"].runs == {gone: Wave("nps", 1, 1, {3: 1})}


def test_months_have_each_customers_latest_answer_in_them_as_a_plain_count_finds(asking: Asking) -> None:
    chance = random.Random(11)  # noqa: S311
    starts = [NOW + number * 30 * DAY for number in range(4)]
    months = list(pairwise(starts))
    ends = [start + chance.choice((-1, 0, 1)) * timedelta(microseconds=1) for start in starts]
    campaigns = {"nps": "feedback", "csat": "kindness"}
    given: list[tuple[datetime, int, str, int, int]] = []
    delivered: Counter[tuple[int, str]] = Counter()
    answered: Counter[tuple[int, str]] = Counter()
    for number in range(120):
        survey, who = chance.choice(("nps", "csat")), chance.randrange(1, 16)
        sent_at = chance.choice([*ends, NOW + chance.randrange(90 * 86_400) * timedelta(seconds=1)])
        message = asking.ask(asking.run(campaigns[survey]), who, sent_at=sent_at, delivered_at=sent_at)
        month = month_of(sent_at, months)
        delivered[month, survey] += 1
        if number % 2:
            at = sent_at + timedelta(days=chance.randrange(20), microseconds=number)
            score = chance.choice(SCALES[survey])  # type: ignore[index]
            asking.answer(message, who, score, at, survey)
            answered[month, survey] += 1
            given.append((at, number, survey, who, score))
    found = monthly_waves(asking.connection, months, {("feedback", "ask"): "nps"})
    nothing = monthly_waves(asking.connection, [(NOW - 60 * DAY, NOW - 30 * DAY)], {})
    for number in range(3):
        for survey in ("nps", "csat"):
            latest = {
                who: score
                for at, _, of, who, score in sorted(given)
                if of == survey and month_of(at, months) == number
            }
            wave = found[number][survey]  # type: ignore[index]
            assert wave.answers == Counter(latest.values()), (number, survey)
            assert (wave.delivered, wave.answered) == (delivered[number, survey], answered[number, survey])
    assert nothing == [{}]


def month_of(at: datetime, months: list[tuple[datetime, datetime]]) -> int:
    return next((number for number, (since, until) in enumerate(months) if since <= at < until), -1)


def test_the_command_tells_scores_with_their_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holdfast.yaml").write_text("channels: {email: {adapter: sandbox}}\n")
    (tmp_path / "campaigns").mkdir()
    (tmp_path / "campaigns" / "feedback.yaml").write_text(
        "campaign: feedback\naudience: {country: DE}\n"
        "steps: [{id: ask, channels: [email], template: ask, survey: csat}]\n"
    )
    with closing(open_workspace(tmp_path, str)) as ws, ws.database.write() as connection:
        asking = Asking(connection)
        run = asking.run()
        asking.answer(asking.ask(run, 1), 1, 5, survey="csat")
        asking.ask(run, 2)
    for arguments in (["report", "feedback", "--json"], ["report", "feedback"]):
        with pytest.raises(SystemExit):
            main(arguments)
    told, _, shown = capsys.readouterr().out.partition("\n}\n")
    [survey] = json.loads(told + "}")["campaigns"][0]["surveys"]
    assert (survey["step"], survey["survey"], survey["runs"].keys()) == ("ask", "csat", {"k0"})
    assert survey["all"]["answers"] == {"5": 1}
    assert (survey["all"]["mean"], survey["all"]["satisfied_per_answer"]["value"]) == (5, 1)
    assert survey["all"]["answers_per_delivered"]["value"] == 0.5
    assert re.search(r"feedback +ask +CSAT +100\.0% +20\.7 to 100\.0% +1 +50\.0%", shown)
