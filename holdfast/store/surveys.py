"""What customers answered to surveys, in set SQL that is the same on both databases: campaigns, months."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    and_,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from holdfast.metrics.surveys import Wave
from holdfast.store.aggregates import funnel_counts
from holdfast.surveys import Survey
from holdfast.tables import SAID, messages, responses, runs

_a = (
    select(*(responses.c[name] for name in ("event_id", "message_id", "survey", "score", "occurred_at")))
    .where(SAID, responses.c.kind == "answered")
    .subquery("answers")
)
_ANSWERS = _a.join(messages, messages.c.id == _a.c.message_id).join(runs, runs.c.id == messages.c.run_id)


@dataclass(frozen=True, slots=True)
class StepWaves:
    """A step's survey: what came of it in each run, by the run's id, and in all of them together."""

    step: str
    survey: Survey
    runs: Mapping[int, Wave]
    total: Wave


def campaign_waves(connection: Connection, campaign: str, asked: Mapping[str, Survey]) -> list[StepWaves]:
    """What came of the campaign's surveys, by step and survey.

    `asked` is what its steps ask by now; what was answered to them when they asked something else is found
    too, and so are steps that are no more.
    """
    m = messages.c
    ranked = (
        select(
            m.run_id,
            m.step,
            _a.c.survey,
            _a.c.score,
            _place_among(m.step, m.run_id).label("in_run"),
            _place_among(m.step).label("in_all"),
        )
        .select_from(_ANSWERS)
        .where(runs.c.campaign == campaign)
        .subquery()
    )
    c = ranked.c
    in_run, in_all = (func.count().filter(place == 1) for place in (c.in_run, c.in_all))
    counted = select(c.run_id, c.step, c.survey, c.score, in_run, in_all)
    of_run: defaultdict[tuple[int, str, Survey], Counter[int]] = defaultdict(Counter)
    of_all: defaultdict[tuple[str, Survey], Counter[int]] = defaultdict(Counter)
    for run_id, step, survey, score, of_the_run, of_them_all in connection.execute(
        counted.group_by(c.run_id, c.step, c.survey, c.score)
    ):
        of_run[run_id, step, survey][score] += of_the_run
        of_all[step, survey][score] += of_them_all
    steps = {*asked, *(step for step, _ in of_all)}
    of_campaign = m.run_id.in_(select(runs.c.id).where(runs.c.campaign == campaign))
    sent = _sent(connection, (m.run_id, m.step), and_(of_campaign, m.step.in_(steps))) if steps else {}
    answered = {(run_id, step) for run_id, step, _ in of_run}
    found = []
    for step, survey in sorted({*of_all, *asked.items()}):
        waves = {
            run_id: Wave(survey, *numbers, +of_run[run_id, step, survey])
            for (run_id, at), numbers in sorted(sent.items())
            if at == step
            and (
                (run_id, step, survey) in of_run
                or (asked.get(step) == survey and (run_id, step) not in answered)
            )
        }
        delivered, replied = (
            sum(getattr(wave, name) for wave in waves.values()) for name in ("delivered", "answered")
        )
        found.append(StepWaves(step, survey, waves, Wave(survey, delivered, replied, +of_all[step, survey])))
    return found


def monthly_waves(
    connection: Connection,
    months: Sequence[tuple[datetime, datetime]],
    asked: Mapping[tuple[str, str], Survey],
) -> list[dict[Survey, Wave]]:
    """By survey, the latest answer of each customer in each of the months, which follow one another.

    Messages count in the month that they were sent in. `asked` is what steps, by campaign and id, ask by now.
    """
    m = messages.c
    month = _month_of(_a.c.occurred_at, months)
    ranked = (
        select(
            month.label("month"),
            runs.c.campaign,
            m.step,
            _a.c.survey,
            _a.c.score,
            _place_among(month).label("place"),
        )
        .select_from(_ANSWERS)
        .where(_a.c.occurred_at >= months[0][0], _a.c.occurred_at < months[-1][1])
        .subquery()
    )
    c = ranked.c
    latest = func.count().filter(c.place == 1)
    rows = connection.execute(
        select(c.month, c.campaign, c.step, c.survey, c.score, latest).group_by(
            c.month, c.campaign, c.step, c.survey, c.score
        )
    )
    scores: defaultdict[tuple[int, Survey], Counter[int]] = defaultdict(Counter)
    surveys = dict(asked)
    for number, campaign, step, survey, score, customers in rows:
        scores[number, survey][score] += customers
        surveys.setdefault((campaign, step), survey)
    if not surveys:
        return [{} for _ in months]
    of_steps = or_(*(and_(runs.c.campaign == campaign, m.step == step) for campaign, step in surveys))
    in_months = and_(m.sent_at >= months[0][0], m.sent_at < months[-1][1])
    sent: defaultdict[tuple[int, Survey], tuple[int, int]] = defaultdict(lambda: (0, 0))
    keys = (_month_of(m.sent_at, months), runs.c.campaign, m.step)
    for (number, campaign, step), numbers in _sent(connection, keys, and_(of_steps, in_months)).items():
        of = number, surveys[campaign, step]
        sent[of] = (sent[of][0] + numbers[0], sent[of][1] + numbers[1])
    return [
        {
            survey: Wave(survey, *sent[number, survey], +scores[number, survey])
            for survey in sorted({*surveys.values()})
        }
        for number in range(len(months))
    ]


def _place_among(*whose: ColumnElement[Any]) -> ColumnElement[int]:
    """An answer's place among the same customer's to the survey, the latest first. Of one moment's the name
    decides, not the order in which they came."""
    return func.row_number().over(
        partition_by=(*whose, _a.c.survey, messages.c.customer_id),
        order_by=(_a.c.occurred_at.desc(), _a.c.event_id.desc()),
    )


def _month_of(moment: ColumnElement[Any], months: Iterable[tuple[datetime, datetime]]) -> ColumnElement[int]:
    """The number of the month, from 0, that the moment is in; it is in one."""
    ends = ((moment < until, literal(number, Integer)) for number, (_, until) in enumerate(months))
    return case(*ends)


def _sent(
    connection: Connection, keys: Sequence[ColumnElement[Any]], where: ColumnElement[bool]
) -> dict[tuple[Any, ...], tuple[int, int]]:
    """How many messages came through, by these keys, and were answered. Of channels without receipts all
    count that the provider took."""
    m = messages.c
    taken = func.count().filter(or_(m.state == "accepted", m.answered_at.is_not(None)))
    delivered = funnel_counts()["delivered"]
    names = [f"key_{number}" for number in range(len(keys))]
    each = (
        select(
            *(key.label(name) for key, name in zip(keys, names, strict=True)),
            delivered,
            taken,
            func.count(m.answered_at),
        )
        .join_from(messages, runs, runs.c.id == m.run_id)
        .where(where)
        # By name: PostgreSQL takes no two expressions with parameters for the same one.
        .group_by(*map(literal_column, names), m.channel)
    )
    found: defaultdict[tuple[Any, ...], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for *key, received, accepted, answered in connection.execute(each):
        before = found[tuple(key)]
        found[tuple(key)] = (before[0] + (received or accepted), before[1] + answered)
    return dict(found)
