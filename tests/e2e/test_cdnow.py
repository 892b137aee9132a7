"""The main job on real purchases: a win-back as of a day in 1998, through Prefect, every count checked."""

from __future__ import annotations

import email
import email.policy
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.parser import BytesParser
from pathlib import Path

import pytest
from babel.numbers import format_currency
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from holdfast import report
from holdfast.audience.arms import coefficients, draw_number, position, threshold
from holdfast.orchestration.running import Ended, run_now
from holdfast.settings import load_project, project_secret
from holdfast.store.imports import Kind, import_file
from holdfast.wiring import open_database, open_workspace
from tests import cdnow

DAY = date(1998, 4, 1)
EVE = datetime(1998, 3, 31, 12, tzinfo=UTC)  # a run sees what happens while it goes on: not up to midnight
HOLDOUT = 0.1
ROOT = Path(__file__).parents[2]

PROJECT = """
brand: {name: CDNOW, from: CDNOW <hello@cdnow.example>, postal_address: "1 Main St, Fort Washington"}
business: {timezone: UTC, currency: USD, locale: en-US}
channels:
  email: {adapter: sandbox}
  telegram: {adapter: sandbox, kind: telegram}
"""
CAMPAIGN = """
campaign: lapsed
audience:
  all:
    - lifecycle: lapsed
    - orders.count: {gte: 2}
holdout: 10%
steps:
  - id: hello
    channels: [email, telegram]
    template: winback/hello
"""


def no_blocks(name: str) -> str:
    raise AssertionError(name)


@dataclass(frozen=True)
class Expected:
    """What should happen, computed from the purchases in plain Python."""

    matched: set[str]
    unreachable: set[str]
    no_consent: set[str]
    holdout: set[str]
    channel: dict[str, str]


def expect(contacts: dict[str, cdnow.Contact], secret: bytes) -> Expected:
    matched = cdnow.quiet_since(DAY, timedelta(days=180), at_least=2)
    usable = cdnow.reachable(matched, contacts)
    nowhere = {id_ for id_ in matched if not contacts[id_].email and not contacts[id_].telegram}
    a, b = coefficients(secret, "holdout", "lapsed")
    holdout = {id_ for id_ in usable if position(draw_number(secret, id_), a, b) < threshold(HOLDOUT)}
    return Expected(
        matched=matched,
        unreachable=nowhere,
        no_consent=matched - set(usable) - nowhere,
        holdout=holdout,
        channel={id_: kinds[0] for id_, kinds in usable.items() if id_ not in holdout},
    )


@dataclass(frozen=True)
class Story:
    root: Path
    expected: Expected
    ended: Ended
    contacts: dict[str, cdnow.Contact]


@pytest.fixture(scope="module")
def story(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The customers imported, and the campaign run once."""
    root = tmp_path_factory.mktemp("cdnow")
    (root / "holdfast.yaml").write_text(PROJECT)
    (root / "campaigns").mkdir()
    (root / "campaigns" / "lapsed.yaml").write_text(CAMPAIGN)
    shutil.copytree(ROOT / "templates", root / "templates")
    files = cdnow.write_cdnow(root / "files")
    project = load_project(root / "holdfast.yaml")
    secret = project_secret(project, no_blocks)
    database = open_database(project, no_blocks)
    kinds: tuple[Kind, ...] = ("customers", "orders", "lines")
    for kind in kinds:
        done = import_file(
            database, project, secret, kind, getattr(files, kind), now=datetime.now(UTC), rejects=None
        )
        assert done.rejected == 0
    database.close()
    ended = run_now(root, "lapsed", key="spring", as_of=EVE)
    return Story(root, expect(dict(files.contacts), secret), ended, dict(files.contacts))


def letters(root: Path) -> dict[str, Path]:
    """The letters in the sandbox, by recipient."""
    heads = BytesParser(policy=email.policy.default)
    found = {}
    for path in (root / ".holdfast" / "sandbox" / "email").glob("*.eml"):
        head = heads.parsebytes(path.read_bytes(), headersonly=True)
        found[str(head["To"].addresses[0].addr_spec)] = path
    return found


def test_every_count_of_the_waterfall_is_that_of_plain_python(story: Story) -> None:
    expected = story.expected
    assert story.ended.state == "Completed"
    assert len(expected.matched) > 3000
    channels = Counter(expected.channel.values())
    ws = open_workspace(story.root, no_blocks)
    try:
        (status,) = report.status(ws, datetime.now(UTC), "lapsed")
        rows = report.waterfall(ws, status.run.id)
    finally:
        ws.close()
    assert status.run.state == "done"
    assert rows == [
        ("matched", len(expected.matched)),
        ("cannot be reached", -len(expected.unreachable)),
        ("no consent", -len(expected.no_consent)),
        ("enrolled", len(expected.channel) + len(expected.holdout)),
        ("held out", -len(expected.holdout)),
        ("to send", len(expected.channel)),
        ("  accepted by email", channels["email"]),
        ("  accepted by telegram", channels["telegram"]),
    ]


def test_the_prefect_ui_shows_the_same_waterfall(story: Story) -> None:
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["lapsed-waterfall"])), limit=1
        )
    assert f'"customers": {len(story.expected.matched)}' in str(artifact.data)
    assert f'"customers": -{len(story.expected.holdout)}' in str(artifact.data)


def test_each_customer_got_one_message_of_their_own_on_the_right_channel(story: Story) -> None:
    sent = letters(story.root)
    by_email = {id_ for id_, channel in story.expected.channel.items() if channel == "email"}
    assert sent.keys() == {story.contacts[id_].email for id_ in by_email}
    by_telegram = list((story.root / ".holdfast" / "sandbox" / "telegram").glob("*.txt"))
    assert len(by_telegram) == len(story.expected.channel) - len(by_email)
    histories = cdnow.bought_until(DAY - timedelta(days=1))
    for id_ in sorted(by_email)[::25]:
        letter = email.message_from_bytes(
            sent[story.contacts[id_].email].read_bytes(), policy=email.policy.default
        )
        assert isinstance(letter, email.message.EmailMessage)
        plain = letter.get_body(("plain",))
        assert plain is not None
        # Some bought twice on their last day; the file does not say which came last.
        last = [own for own in histories[id_] if own.day == histories[id_][-1].day]
        if story.contacts[id_].locale == "en-US":
            totals = [format_currency(purchase.dollars, "USD", locale="en_US") for purchase in last]
            assert any(total in plain.get_content() for total in totals)
        if name := story.contacts[id_].first_name:
            assert name in letter["Subject"] + plain.get_content()


def test_running_it_again_sends_nothing(story: Story) -> None:
    sandbox = story.root / ".holdfast" / "sandbox"
    before = {path: path.stat().st_mtime_ns for path in sandbox.rglob("*.*")}
    assert len(before) == len(story.expected.channel)
    ended = run_now(story.root, "lapsed", key="spring")
    assert ended.state == "Completed"
    assert {path: path.stat().st_mtime_ns for path in sandbox.rglob("*.*")} == before
