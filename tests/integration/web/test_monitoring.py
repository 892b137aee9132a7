"""Metrics for Prometheus: what they count, who may read them, and the alerts that name them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML
from sqlalchemy import event, insert

from holdfast.delivery import advance
from holdfast.responses import cases as casework
from holdfast.store import erasing, inbox
from holdfast.store.runs import stop_by_guard
from holdfast.store.vital_signs import RECENT
from holdfast.tables import attempts, posts, responses
from holdfast.web.webhooks import LARGEST_BODY
from tests.integration.conftest import SECRET, Clock
from tests.integration.web.conftest import WEBHOOK_KEY, MakeWeb, Outage, Web, on_postgresql, on_sqlite, signed

TOKEN = "a token of Prometheus"
METRICS_ONLY = {"tokens": {"prometheus": {"token": {"env": "METRICS_TOKEN"}, "scopes": "metrics"}}}
ALERTS = Path(__file__).parents[3] / "docs" / "prometheus" / "alerts.yaml"
BODY = b"[]"

Labels = frozenset[tuple[str, str]]


@pytest.fixture
def web(make_web: MakeWeb, monkeypatch: pytest.MonkeyPatch) -> Web:
    monkeypatch.setenv("METRICS_TOKEN", TOKEN)
    return make_web(web=METRICS_ONLY)


def scrape(web: Web) -> dict[str, dict[Labels, float]]:
    """The samples by name and labels."""
    response = web.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(response.text):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def value(web: Web, name: str, **labels: str) -> float:
    return scrape(web)[name][frozenset(labels.items())]


def requests(web: Web) -> dict[tuple[str, str], int]:
    """How many requests there were, by channel and outcome."""
    samples = scrape(web)["holdfast_intake_requests_total"]
    counted = {(dict(labels)["channel"], dict(labels)["outcome"]): int(n) for labels, n in samples.items()}
    return {of: count for of, count in counted.items() if count}


def post(web: Web, body: bytes, channel: str = "email", key: str = WEBHOOK_KEY) -> int:
    headers = signed(body, web.bench.clock.now, key)
    return web.client.post(f"/webhooks/{channel}", content=body, headers=headers).status_code


# --- requests ---------------------------------------------------------------------------------------


@on_sqlite
def test_requests_are_counted_by_channel_and_outcome(web: Web) -> None:
    assert requests(web) == {}
    assert [post(web, BODY), post(web, BODY), post(web, b"[ ]")] == [204, 204, 204]
    assert post(web, BODY, key="the key of somebody else") == 403
    assert post(web, b"x" * (LARGEST_BODY + 1)) == 413
    assert requests(web) == {
        ("email", "taken"): 2,
        ("email", "repeated"): 1,
        ("email", "refused"): 1,
        ("email", "too_large"): 1,
    }
    # Another process has series of its own.
    counted = scrape(web)["holdfast_intake_requests_total"]
    assert {dict(labels)["process"] for labels in counted} == {str(os.getpid())}


@on_sqlite
def test_what_strangers_call_a_channel_makes_no_series(web: Web) -> None:
    series = len(scrape(web)["holdfast_intake_requests_total"])
    for name in ("nowhere", "ann@shop.example", "%F0%9F"):
        assert post(web, BODY, channel=name) == 404
    assert requests(web) == {("(unknown)", "unknown"): 3}
    assert len(scrape(web)["holdfast_intake_requests_total"]) == series


@on_sqlite
def test_clicks_and_opens_are_counted_as_those_of_our_links(web: Web) -> None:
    signer = web.bench.ws.signer
    track, link = signer.sign("track", web.message()), signer.sign_link("https://shop.example/")
    assert web.client.get(f"/c/{track}/{link}").status_code == 302
    assert web.client.get(f"/o/{track}.gif").status_code == 200
    assert requests(web) == {("(links)", "taken"): 2}


@on_postgresql  # SQLite lets everybody read, whoever writes
def test_a_database_that_is_away_is_told_and_what_could_not_be_kept_counted(web: Web) -> None:
    assert value(web, "holdfast_database_up") == 1
    with Outage(web.database):
        assert post(web, BODY) == 503
        away = scrape(web)
    assert away["holdfast_database_up"] == {frozenset(): 0}
    assert "holdfast_inbox_unread" not in away
    assert requests(web) == {("email", "failed"): 1}
    assert value(web, "holdfast_database_up") == 1


# --- the ledger -------------------------------------------------------------------------------------


def test_the_inbox_is_counted_and_the_oldest_letter_has_its_age(web: Web, clock: Clock) -> None:
    assert value(web, "holdfast_inbox_oldest_unread_seconds") == 0
    for number in range(3):
        post(web, b"[%s]" % (b" " * number))
        clock.advance(seconds=20)
    assert value(web, "holdfast_inbox_unread") == 3
    assert value(web, "holdfast_inbox_oldest_unread_seconds") == 60
    with web.database.write() as connection:
        first = inbox.waiting(connection, 0, 1)[0].id
        inbox.mark_handled(connection, web.database, {first: None}, clock.now)
    assert value(web, "holdfast_inbox_unread") == 2
    assert value(web, "holdfast_inbox_oldest_unread_seconds") == 40
    assert value(web, "holdfast_inbox_unreadable", channel="email") == 0
    with web.database.write() as connection:
        second = inbox.waiting(connection, 0, 1)[0].id
        inbox.mark_handled(connection, web.database, {second: "no JSON"}, clock.now)
    assert value(web, "holdfast_inbox_unreadable", channel="email") == 1
    assert value(web, "holdfast_inbox_unreadable", channel="sms") == 0


def test_sends_and_responses_are_counted_while_they_are_recent(web: Web, clock: Clock) -> None:
    message = web.message()
    [sent] = web.bench.messages(id=message)
    call = {"run_id": sent.run_id, "channel": "sms", "messages": 9, "started_at": clock.now}
    outcomes = {"accepted": 5, "rejected": 2, "retried": 1, "in_doubt": 1}
    answer = {"event_id": "e", "kind": "clicked", "occurred_at": clock.now, "received_at": clock.now}
    with web.database.write() as connection:
        old = {"started_at": clock.now - RECENT - timedelta(seconds=1)}
        connection.execute(insert(attempts), call | old | {"accepted": 1000})
        connection.execute(insert(attempts), [call | outcomes, call | outcomes])
        connection.execute(insert(attempts), call)  # is being made
        old = {"event_id": "old", "received_at": clock.now - RECENT - timedelta(seconds=1)}
        connection.execute(insert(responses), [answer | {"channel": c} | old for c in ("", "sms")])
        connection.execute(insert(responses), [answer | {"channel": c} for c in ("", "sms")])
    for outcome, count in outcomes.items():
        assert value(web, "holdfast_recent_sends", channel="sms", outcome=outcome) == 2 * count
        assert value(web, "holdfast_recent_sends", channel="email", outcome=outcome) == 0
    for channel in ("(links)", "sms"):
        assert value(web, "holdfast_recent_responses", channel=channel, kind="clicked") == 1
    clock.now += RECENT + timedelta(seconds=1)
    assert value(web, "holdfast_recent_sends", channel="sms", outcome="accepted") == 0
    assert "holdfast_recent_responses" not in scrape(web)


def test_who_waits_to_be_erased_is_counted(web: Web, clock: Clock) -> None:
    assert value(web, "holdfast_erasures_waiting") == value(web, "holdfast_erasures_oldest_seconds") == 0
    for id_ in web.bench.shop.customers(2):
        with web.database.write() as connection:
            erasing.ask(connection, id_, SECRET, "test", clock.now)
        clock.advance(seconds=60)
    assert value(web, "holdfast_erasures_waiting") == 2
    assert value(web, "holdfast_erasures_oldest_seconds") == 120
    erasing.erase(web.database, 1, clock.now)
    assert value(web, "holdfast_erasures_waiting") == 1
    assert value(web, "holdfast_erasures_oldest_seconds") == 60


def test_what_is_due_in_doubt_and_stopped_is_counted(web: Web, clock: Clock) -> None:
    web.bench.shop.customers(3)
    web.bench.campaign()
    run_id = web.bench.start()
    advance(web.bench.ws, "hello", clock.now)
    assert value(web, "holdfast_messages_due", channel="sms") == 3
    assert value(web, "holdfast_messages_due", channel="email") == 0
    assert value(web, "holdfast_runs", state="running") == 1
    assert "holdfast_runs_stopped_by_guard" not in scrape(web)
    post_ = {"run_id": run_id, "step": "s", "channel": "news", "kind": "x", "state": "in_doubt"}
    with web.database.write() as connection:
        connection.execute(insert(posts), post_ | {"due_at": clock.now})
    assert value(web, "holdfast_in_doubt", channel="news", what="post") == 1
    assert value(web, "holdfast_in_doubt", channel="sms", what="message") == 0
    assert stop_by_guard(web.database, run_id, "too much came back")
    assert value(web, "holdfast_runs_stopped_by_guard", campaign="hello") == 1
    assert value(web, "holdfast_messages_due", channel="sms") == 0
    assert value(web, "holdfast_runs", state="stopping") == 1


def test_open_cases_are_counted_and_the_oldest_that_nobody_answered_has_its_age(
    web: Web, clock: Clock
) -> None:
    web.bench.shop.customers(3)
    for number in (1, 2, 3):
        casework.open_case(web.bench.ws, f"c{number}", "called us", "ann", clock.now)
        clock.advance(seconds=20)
    assert value(web, "holdfast_open_cases") == 3
    assert value(web, "holdfast_oldest_unanswered_case_seconds") == 60
    casework.answer(web.bench.ws, 1, "sorry", "ann", clock.now)
    casework.close(web.bench.ws, 2, "settled", "ann", clock.now)
    assert value(web, "holdfast_open_cases") == 2
    assert value(web, "holdfast_oldest_unanswered_case_seconds") == 20
    casework.answer(web.bench.ws, 3, "sorry", "ann", clock.now)
    assert value(web, "holdfast_oldest_unanswered_case_seconds") == 0


@on_sqlite
def test_another_process_tells_the_same_of_the_ledger(web: Web, make_web: MakeWeb) -> None:
    post(web, BODY)
    before = scrape(web)
    after = scrape(make_web(web=METRICS_ONLY))
    of_process = "holdfast_intake_requests_total"
    assert sum(before.pop(of_process).values()) == 1
    assert sum(after.pop(of_process).values()) == 0
    assert {name: before[name] for name in before if not name.endswith("_created")} == {
        name: after[name] for name in after if not name.endswith("_created")
    }


@on_sqlite
def test_nothing_that_grows_with_the_ledger_is_read_whole(web: Web, clock: Clock) -> None:
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *more: Any) -> None:
        asked.append((statement, parameters))

    event.listen(web.database.engine, "before_cursor_execute", note)
    scrape(web)
    event.remove(web.database.engine, "before_cursor_execute", note)
    selects = [(statement, given) for statement, given in asked if "SELECT" in statement]
    assert len(selects) >= 8
    with web.database.read() as connection:
        for statement, given in selects:
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given):
                if re.match(
                    r"SCAN (messages|responses|attempts|inbox|enrollments|customers|cases)\b", step.detail
                ):
                    # What waits has an index of its own; the newest is the first that is met from the end.
                    waits = re.search(
                        r"INDEX (ix_messages_(planned|in_doubt)|ix_inbox_(waiting|unreadable)|uq_cases_open)",
                        step.detail,
                    )
                    assert waits or re.search(r"ORDER BY \w+\.id DESC\s+LIMIT", statement), step.detail


# --- alerts -----------------------------------------------------------------------------------------


def rules() -> Iterator[dict[str, Any]]:
    [group] = YAML(typ="safe", pure=True).load(ALERTS.read_text(encoding="utf-8"))["groups"]
    assert set(group) == {"name", "rules"}
    yield from group["rules"]


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])
def test_a_rule_of_the_sample_is_one(rule: dict[str, Any]) -> None:
    assert {"alert", "expr", "labels", "annotations"} <= set(rule) <= {
        "alert", "expr", "for", "labels", "annotations"
    }  # fmt: skip
    assert re.fullmatch(r"[1-9][0-9]*[smh]", rule.get("for", "1m"))
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description"}
    expression = rule["expr"]
    assert all(expression.count(a) == expression.count(b) for a, b in ("()", "[]", "{}"))


def test_every_metric_and_label_that_an_alert_names_is_there(web: Web, clock: Clock) -> None:
    web.bench.shop.customers(1)
    web.bench.campaign()
    assert stop_by_guard(web.database, web.bench.start(), "too much came back")
    samples = scrape(web)
    named = set()
    for rule in rules():
        expression = rule["expr"]
        names = set(re.findall(r"holdfast_\w+", expression))
        assert names, rule["alert"]
        assert names <= set(samples), rule["alert"]
        named |= names
        series = [dict(labels) for name in names for labels in samples[name]]
        for label, _, wanted in re.findall(r'(\w+)(=~?)"([^"]+)"', expression):
            for word in wanted.split("|"):
                assert any(labels.get(label) == word for labels in series), (rule["alert"], label, word)
        grouped = re.findall(r"(?:by|on) \(([^)]*)\)", expression)
        shown = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
        for label in {*shown, *(word for words in grouped for word in words.split(", "))}:
            assert any(label in labels for labels in series), (rule["alert"], label)
    documented = (ALERTS.parents[1] / "operating.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in documented for name in samples if not name.endswith("_created"))
    assert named <= set(samples)
