"""Surveys: what their page shows and takes, and what becomes of an answer."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import select

from holdfast.responses import collect
from holdfast.store import inbox
from holdfast.surveys import LONGEST_COMMENT, SCALES, Survey
from holdfast.tables import responses, to_microseconds
from tests.integration.conftest import Clock
from tests.integration.web.conftest import Outage, Web, on_sqlite


def path(web: Web, message_id: int, survey: Survey = "nps") -> str:
    return f"/s/{survey}/{web.bench.ws.signer.sign(survey, message_id)}"


def shown(response: httpx.Response) -> str:
    """The text of a page, without tags and marks of direction."""
    text = re.sub(r"<style>.*?</style>|<[^>]*>|[\u2068\u2069]", "", unescape(response.text))
    return re.sub(r"\s+", " ", text)


def chosen(response: httpx.Response) -> list[str]:
    return re.findall(r'name="answer" value="(\w+)" required checked', response.text)


def kept(web: Web) -> list[tuple[Any, ...]]:
    """What is kept of answers, in the order of their moments."""
    r = responses.c
    with web.database.read() as connection:
        query = select(r.survey, r.score, r.text, r.occurred_at).where(r.kind == "answered")
        return [tuple(row) for row in connection.execute(query.order_by(r.occurred_at, r.id))]


@pytest.mark.parametrize(
    ("survey", "question", "ends"),
    [
        ("nps", "How likely are you to recommend Acme to a friend?", ("0", "10")),
        ("csat", "How satisfied are you with Acme?", ("1", "5")),
    ],
)
@on_sqlite
def test_the_page_asks_the_question_with_its_scale(
    web: Web, survey: Survey, question: str, ends: tuple[str, str]
) -> None:
    response = web.client.get(path(web, web.message(), survey))
    assert response.status_code == 200
    assert question in shown(response)
    answers = re.findall(r'type="radio" name="answer" value="(\d+)"', response.text)
    assert answers == [str(answer) for answer in SCALES[survey]]
    assert (answers[0], answers[-1]) == ends
    assert chosen(response) == []


@on_sqlite
def test_a_link_chooses_its_answer_beforehand_and_a_look_at_it_answers_nothing(web: Web) -> None:
    link = path(web, web.message())
    for answer, found in (
        ("9", ["9"]),
        ("0", ["0"]),
        ("11", []),
        ("-1", []),
        ("٩", []),
        ("09", []),
        ("", []),
    ):
        assert chosen(web.client.get(link, params={"answer": answer})) == found, answer
    assert web.letters() == []


def test_an_answer_is_kept_at_once_and_counts_when_it_is_collected(web: Web, clock: Clock) -> None:
    message = web.message()
    response = web.client.post(path(web, message), data={"answer": "9", "comment": "Good tea.\r\nSlow post."})
    assert (response.status_code, "Your answer: 9 of 10" in shown(response)) == (200, True)
    assert chosen(response) == ["9"]
    assert ">Good tea.\nSlow post.</textarea>" in response.text
    [answer] = web.answers()
    assert re.fullmatch("[0-9a-f]{32}", answer.pop("event"))
    assert answer == {
        "kind": "answered",
        "message": message,
        "at": to_microseconds(clock.now),
        "survey": "nps",
        "score": 9,
        "text": "Good tea.\nSlow post.",
    }
    answered_at = clock.now
    clock.advance(minutes=5)
    assert collect(web.bench.ws, clock.now).new == 1
    assert kept(web) == [("nps", 9, "Good tea.\nSlow post.", answered_at)]
    assert web.bench.messages(id=message)[0].answered_at == answered_at


def test_a_changed_answer_is_one_more_and_the_first_one_dates_the_message(web: Web, clock: Clock) -> None:
    message = web.message()
    first = clock.now
    for answer in ("9", "3", "3"):
        web.client.post(path(web, message), data={"answer": answer, "comment": ""})
        clock.advance(minutes=1)
    assert collect(web.bench.ws, clock.now).new == 3
    assert [row[:3] for row in kept(web)] == [("nps", 9, None), ("nps", 3, None), ("nps", 3, None)]
    assert web.bench.messages(id=message)[0].answered_at == first


@on_sqlite
def test_without_an_answer_of_the_scale_the_page_says_so_and_keeps_the_comment(web: Web) -> None:
    message = web.message()
    for survey, answer in (
        ("nps", "11"),
        ("nps", ""),
        ("nps", "9.0"),
        ("csat", "0"),
        ("csat", "6"),
        ("csat", None),
    ):
        form = {"comment": "<b>Late</b> & cold"} | ({} if answer is None else {"answer": answer})
        response = web.client.post(path(web, message, survey), data=form)  # type: ignore[arg-type]
        assert response.status_code == 422
        assert "Please choose a number from" in shown(response)
        assert 'aria-invalid="true" aria-describedby="wrong"' in response.text
        assert '<p class="wrong" id="wrong" role="alert"' in response.text
        assert "&lt;b&gt;Late&lt;/b&gt; &amp; cold</textarea>" in response.text
    assert web.client.post(path(web, message), content=b"\xff=%zz&answer").status_code == 422
    assert web.letters() == []


@on_sqlite
def test_a_comment_is_bounded_and_steers_nothing(web: Web, clock: Clock) -> None:
    message = web.message()
    for comment in ("x" * 5_000, " a\x1b[31m\x00b\u2028c\r\n\r\n\td ", "ٹ" * LONGEST_COMMENT):
        form = {"answer": "1", "comment": comment}
        assert web.client.post(path(web, message, "csat"), data=form).status_code == 200
    said = [answer["text"] for answer in web.answers()]
    assert said == ["x" * LONGEST_COMMENT, "a[31mb\u2028c\n\nd", "ٹ" * LONGEST_COMMENT]
    assert web.client.post(path(web, message), content=b"comment=" + b"x" * 100_000).status_code == 413
    assert len(web.letters()) == 3


@on_sqlite
def test_only_a_survey_of_ours_takes_an_answer(web: Web, clock: Clock) -> None:
    message = web.message()
    sign = web.bench.ws.signer.sign
    old = sign("nps", message, clock.now.date() - timedelta(days=1))
    for tried, status in [
        (f"/s/csat/{sign('nps', message)}", 404),
        (f"/s/nps/{sign('unsubscribe', message)}", 404),
        (f"/s/ces/{sign('nps', message)}", 404),
        (path(web, message + 1), 404),  # there is no such message
        (path(web, message)[:-1], 404),
        (f"/s/nps/{old}", 410),
    ]:
        assert web.client.get(tried).status_code == status, tried
        assert web.client.post(tried, data={"answer": "9"}).status_code == status, tried
    assert web.letters() == []


@on_sqlite
def test_numbers_are_written_in_the_languages_digits_and_sent_in_ours(web: Web) -> None:
    message = web.message(locale="fa")
    response = web.client.post(path(web, message), data={"answer": "9"})
    assert "پاسخ شما: ۹ از ۱۰" in shown(response)
    assert chosen(response) == ["9"]


@on_sqlite
def test_an_answer_that_cannot_be_kept_is_not_thanked_for(web: Web) -> None:
    message = web.message()
    with Outage(web.database):
        response = web.client.post(path(web, message), data={"answer": "9"})
        assert (response.status_code, "Please try again" in shown(response)) == (503, True)
    assert web.letters() == []


@on_sqlite
def test_a_letter_that_no_page_of_ours_wrote_is_kept_unread(web: Web, clock: Clock) -> None:
    message = web.message()
    good = {"kind": "answered", "message": message, "at": 1, "survey": "nps", "score": 9, "text": ""}
    for number, wrong in enumerate(
        (
            {"score": 11},
            {"score": -1},
            {"score": True},
            {"score": "9"},
            {"score": 9.0},
            {"survey": "ces"},
            {"survey": ["nps"]},
            {"survey": "csat"},
            {"text": 7},
            {"at": 10**30},
        )
    ):
        body = json.dumps({**good, "event": str(number), **wrong}).encode()
        inbox.Inbox(web.database).put(None, body, clock.now)
    assert collect(web.bench.ws, clock.now).unreadable == 10
    assert {letter.problem for letter in web.letters()} == {"not what one of our own links writes down"}
    assert kept(web) == []


@on_sqlite
def test_the_link_of_a_message_that_a_run_sent_leads_to_its_page(web: Web) -> None:
    web.bench.shop.customers(1)
    web.bench.edit("ask.sms.txt", "How was it? {{ links.survey }}?answer=4")
    web.bench.campaign(steps=[{"id": "ask", "channels": ["sms"], "template": "ask", "survey": "csat"}])
    web.bench.run()
    [[message]] = web.bench.sms.calls
    link = urlsplit(message.text.split()[-1])
    assert chosen(web.client.get(f"{link.path}?{link.query}")) == ["4"]
    assert web.client.post(link.path, data={"answer": "5"}).status_code == 200
    collect(web.bench.ws, web.bench.clock.now)
    assert [row[:2] for row in kept(web)] == [("csat", 5)]
