"""`holdfast send-test` by every adapter, to a stand-in of its provider; and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML
from sqlalchemy import func, insert, select

from holdfast.responses import collect
from holdfast.tables import attempts, consents, enrollments, messages, metadata, responses, runs, suppressions
from holdfast.web import create_app
from holdfast.wiring import open_workspace
from tests.contract.channel_contract import SECRET
from tests.integration.test_cli_campaigns import Done, Holdfast, clear_settings, holdfast
from tests.servers.letterboxes import LETTERBOXES, Letterbox, secret
from tests.servers.mastodon_server import MastodonServer
from tests.servers.smtp_server import SmtpServer
from tests.servers.stand_in import Answer
from tests.servers.web_server import serving
from tests.servers.webhook_server import WebhookServer
from tests.servers.x_server import XServer

__all__ = ["holdfast"]

CAMPAIGN = """\
campaign: hello
audience: {country: DE}
steps:
  - {id: first, channels: [out], template: note, coupon: TEN}
"""
EMAIL = (
    "{% extends 'page.html' %}{% block subject %}Hello {{ customer.first_name }}{% endblock %}"
    "{% block body %}<p><a href='https://shop.example/back'>Back</a> {{ coupon }}"
    " <a href='{{ links.unsubscribe }}'>Enough</a></p>{% endblock %}"
)
TEXT = "Hello {{ customer.first_name }}, take {{ coupon }}."
CUSTOMERS = (
    "customer_id,email,first_name,country,consent.email\n"
    "bob,bob@shop.example,Bob,DE,yes\n"
    "zoe,dead@shop.example,Zoe,DE,yes\n"
)


# --- the project ----------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, for a test to put its project into; nothing is in the environment."""
    clear_settings(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_project(
    folder: Path, kind: str, out: dict[str, Any], campaign: str = CAMPAIGN, **more: Any
) -> None:
    brand = {"name": "Acme", "from": "Acme <hello@acme.example>", "public_url": "https://r.acme.example"}
    YAML().dump({"brand": brand, "channels": {"out": out, **more}}, folder / "holdfast.yaml")
    for name in ("campaigns", "templates"):
        (folder / name).mkdir()
    (folder / "campaigns" / "hello.yaml").write_text(campaign)
    (folder / "templates" / "page.html").write_text(
        "<html><body>{% block body %}{% endblock %}</body></html>"
    )
    ending, template = ("html", EMAIL) if kind == "email" else ("txt", TEXT)
    (folder / "templates" / f"note.{kind}.{ending}").write_text(template)


@pytest.fixture
def by_email(holdfast: Holdfast, tmp_path: Path) -> Iterator[tuple[Holdfast, SmtpServer]]:
    """A project whose letters go to a mail server."""
    with SmtpServer() as server:
        options = {"adapter": "smtp", "host": "127.0.0.1", "port": server.port, "security": "none"}
        write_project(tmp_path, "email", options)
        yield holdfast, server


# --- every adapter --------------------------------------------------------------------------------


@pytest.fixture(params=LETTERBOXES)
def letterbox(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Letterbox]:
    with LETTERBOXES[request.param](tmp_path, monkeypatch) as letterbox:
        yield letterbox


def test_a_test_goes_through_the_real_adapter_to_one_address_and_says_that_it_is_one(
    letterbox: Letterbox, holdfast: Holdfast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, letterbox.kind, letterbox.options)
    for name, value in letterbox.secrets.items():
        monkeypatch.setenv(name, value)
    done = holdfast("send-test", "hello", "--to", letterbox.address)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("accepted by out")
    text = "[Test] Hello Anna" if letterbox.kind == "email" else "[Test] Hello Anna, take TEN."
    assert letterbox.read() == [(letterbox.address, text)]
    assert kept(tmp_path) == {}

    told = json.loads(holdfast("send-test", "hello", "--to", letterbox.address, "--json").out)
    assert told["state"] == "accepted"
    assert told["key"].startswith("test-")
    assert len(letterbox.read()) == 2, "the same test again is another message"


def test_an_address_of_another_kind_is_refused_before_anything_is_sent(
    letterbox: Letterbox, holdfast: Holdfast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, letterbox.kind, letterbox.options)
    for name, value in letterbox.secrets.items():
        monkeypatch.setenv(name, value)
    for address in ("", " ", "ann smith\n@acme.example", "x" * 400):
        done = holdfast("send-test", "hello", "--to", address)
        assert done.code == 2
        assert "Invalid value for '--to': channel 'out' takes a" in done.err
    assert letterbox.read() == []


def kept(folder: Path) -> dict[str, int]:
    """How many rows of runs, messages and answers the ledger has, where it has any."""
    with closing(open_workspace(folder, str)) as ws, ws.database.read() as connection:
        tables = (runs, enrollments, messages, attempts, responses, consents)
        counts = {table.name: connection.scalar(select(func.count()).select_from(table)) for table in tables}
    return {name: n for name, n in counts.items() if n}


# --- posts ----------------------------------------------------------------------------------------


@pytest.fixture(params=["x", "mastodon", "sandbox"])
def wall(
    request: pytest.FixtureRequest, holdfast: Holdfast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Holdfast, Callable[[], list[str]]]]:
    """A project that publishes, and what it has published."""
    monkeypatch.setenv("TEST_TOKEN", SECRET)
    posts = tmp_path / ".holdfast" / "sandbox" / "wall"
    with XServer() as x, MastodonServer(token=SECRET) as mastodon:
        options, read = {
            "x": ({"base_url": x.url, "user_token": secret("token")}, lambda: [p["said"] for p in x.posts]),
            "mastodon": (
                {"base_url": mastodon.url, "token": secret("token")},
                lambda: [status["content"][len("<p>") : -len("</p>")] for status in mastodon.statuses],
            ),
            "sandbox": ({"kind": "x", "post": True}, lambda: [p.read_text() for p in posts.glob("*.txt")]),
        }[request.param]
        write_project(
            tmp_path,
            "email",
            {"adapter": "sandbox"},
            CAMPAIGN + "  - {id: shout, post: [wall], template: shout}\n",
            wall={"adapter": request.param, **options},
        )
        kind = "mastodon" if request.param == "mastodon" else "x"
        (tmp_path / "templates" / f"shout.{kind}.txt").write_text("Tea is ready at {{ brand.name }}.")
        yield holdfast, read


def test_a_post_is_public_so_it_is_tested_only_on_demand(
    wall: tuple[Holdfast, Callable[[], list[str]]], tmp_path: Path
) -> None:
    holdfast, published = wall
    done = holdfast("send-test", "hello", "--step", "shout")
    assert done.code == 2
    assert "'shout' is a post, which everybody would see; publish a test of it with --publish" in done.err
    assert published() == []

    done = holdfast("send-test", "hello", "--step", "shout", "--publish")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("accepted by wall, as ")
    assert published() == ["[Test] Tea is ready at Acme."]
    assert kept(tmp_path) == {}


def test_the_same_test_post_again_is_told_to_be_out_where_the_network_refuses_it(
    wall: tuple[Holdfast, Callable[[], list[str]]],
) -> None:
    holdfast, published = wall
    codes = [holdfast("send-test", "hello", "--step", "shout", "--publish") for _ in range(2)]
    assert published() == ["[Test] Tea is ready at Acme."]
    assert codes[0].code == 0
    assert codes[1].out.startswith("accepted by wall") or codes[1] == Done(
        1, "rejected by wall: this very text was published there lately; look for it\n", ""
    )


def test_a_post_is_to_nobody_and_a_message_is_not_published(
    wall: tuple[Holdfast, Callable[[], list[str]]],
) -> None:
    holdfast, published = wall
    to_somebody = holdfast("send-test", "hello", "--step", "shout", "--publish", "--to", "ann@acme.example")
    assert to_somebody.code == 2
    assert "'shout' is a post, which is for everybody; it takes --channel alone" in to_somebody.err
    message = holdfast("send-test", "hello", "--publish", "--to", "ann@acme.example")
    assert message.code == 2
    assert "Invalid value for '--publish': the step is no post" in message.err
    assert published() == []


# --- what came of it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "told", "facts"),
    [
        (
            [Answer(429, None, {"Retry-After": "120"})],
            "not taken by out (429): it certainly did not go; try again in 2min",
            {"state": "not_taken", "detail": "429", "after_seconds": 120},
        ),
        (
            [Answer(410, {"reason": "bad_address"})],
            "rejected by out: bad address (410): nobody has this address there; check --to",
            {"state": "rejected", "reason": "bad_address", "detail": "410"},
        ),
        (
            [Answer(500)],
            "in doubt by out (500): it left, and no answer came; look whether it arrived",
            {"state": "in_doubt", "detail": "500"},
        ),
    ],
    ids=["later", "refused", "nobody knows"],
)
def test_what_became_of_it_is_told_in_words_and_by_the_exit_code(
    holdfast: Holdfast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: list[Any],
    told: str,
    facts: dict[str, Any],
) -> None:
    monkeypatch.setenv("TEST_TOKEN", SECRET)
    with WebhookServer(script * 2, key=SECRET.encode()) as server:
        options = {"adapter": "webhook", "kind": "letter", "base_url": server.url, "secret": secret("token")}
        write_project(tmp_path, "letter", options | {"allow_private": True})
        to_ann = ("send-test", "hello", "--to", "1 High St, Berlin")
        assert holdfast(*to_ann) == Done(1, f"{told}\n", "")
        done = holdfast(*to_ann, "--json")
    assert done.code == 1
    given = json.loads(done.out)
    assert given == {"campaign": "hello", "channel": "out", "key": given["key"], **facts}


def test_a_mail_server_that_is_down_has_certainly_not_taken_it(by_email: tuple[Holdfast, SmtpServer]) -> None:
    holdfast, server = by_email
    server.close()
    assert holdfast("send-test", "hello", "--to", "ann@acme.example") == Done(
        1, "not taken by out (ECONNREFUSED): it certainly did not go; try again later\n", ""
    )


def test_a_channel_that_needs_an_operator_says_what_to_do(
    holdfast: Holdfast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TOKEN", "another secret")
    with WebhookServer(key=SECRET.encode()) as server:
        options = {"adapter": "webhook", "kind": "letter", "base_url": server.url, "secret": secret("token")}
        write_project(tmp_path, "letter", options | {"allow_private": True})
        done = holdfast("send-test", "hello", "--to", "1 High St, Berlin")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: channel 'out': webhook does not let us in (401)\n"
        "hint: check base_url, and that the receiver knows the secret\n"
    )


# --- whom it is of, and what it leaves alone ------------------------------------------------------


def test_it_is_written_with_the_data_of_the_customer_who_is_named_and_goes_to_the_address_alone(
    by_email: tuple[Holdfast, SmtpServer], tmp_path: Path
) -> None:
    holdfast, server = by_email
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    holdfast("import", "customers", "customers.csv")
    done = holdfast("send-test", "hello", "--to", "ann@acme.example", "--customer", "bob")
    assert done.code == 0
    [mail] = server.mails
    assert (mail.recipient, mail.parsed["To"]) == ("ann@acme.example", "ann@acme.example")
    assert mail.parsed["Subject"] == "[Test] Hello Bob"
    assert "bob@shop.example" not in mail.content.decode()
    assert holdfast("send-test", "hello", "--to", "a@b.example", "--customer", "eve") == Done(
        1, "", "error: there is no customer with this id\nhint: ids are those of the imported files\n"
    )


def test_nothing_goes_to_an_address_that_is_dead(
    by_email: tuple[Holdfast, SmtpServer], tmp_path: Path
) -> None:
    holdfast, server = by_email
    with closing(open_workspace(tmp_path, str)) as ws, ws.database.write() as connection:
        dead = {"kind": "email", "address_key": "dead@shop.example", "reason": "bounced"}
        connection.execute(insert(suppressions).values(**dead, created_at=datetime.now(UTC)))
    done = holdfast("send-test", "hello", "--to", "Dead@Shop.example")
    assert done == Done(
        1, "", "error: nothing goes to this address: it has bounced\nhint: send the test to another one\n"
    )
    assert server.mails == []


def test_its_links_lead_to_the_shop_and_unsubscribe_and_count_for_nobody(
    by_email: tuple[Holdfast, SmtpServer], tmp_path: Path
) -> None:
    holdfast, server = by_email
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    holdfast("import", "customers", "customers.csv")
    before = kept(tmp_path)
    assert holdfast("send-test", "hello", "--to", "bob@shop.example", "--customer", "bob").code == 0
    [mail] = server.mails
    one_click = mail.parsed["List-Unsubscribe"].strip("<>").removeprefix("https://r.acme.example")
    html = mail.parsed.get_body(("html",)).get_content()
    tracked = html.split('href="https://r.acme.example')[1].split('"')[0]
    pixel = html.split('src="https://r.acme.example')[1].split('"')[0]
    with closing(open_workspace(tmp_path, str)) as ws:
        with serving(create_app(ws, lambda: datetime.now(UTC))) as url, httpx.Client(base_url=url) as web:
            assert web.get(tracked).headers["location"] == "https://shop.example/back"
            assert web.get(pixel).status_code == 200
            assert web.get(one_click).status_code == 404
            assert web.post(one_click, data={"List-Unsubscribe": "One-Click"}).status_code == 404
        assert collect(ws, datetime.now(UTC)).problems == ()
        with ws.database.read() as connection:
            of_messages = select(func.count()).where(responses.c.message_id.is_not(None))
            assert connection.scalar(of_messages) == 0
    after = kept(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert metadata.tables["messages"].name not in after


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Invalid value for '--to': a message goes to somebody; name the address"),
        (
            ("--to", "a@b.example", "--locale", "klingon-9"),
            "Invalid value for '--locale': 'klingon-9' is no language; write it like ar-EG",
        ),
        (
            ("--to", "a@b.example", "--locale", "de", "--customer", "bob"),
            "Invalid value for '--locale': a customer has a language of their own",
        ),
    ],
)
def test_wrong_use_is_told(
    by_email: tuple[Holdfast, SmtpServer], arguments: tuple[str, ...], problem: str
) -> None:
    holdfast, server = by_email
    done = holdfast("send-test", "hello", *arguments)
    assert done.code == 2
    assert problem in done.err
    assert server.mails == []


def test_the_made_up_customer_reads_the_language_that_is_asked_for(
    by_email: tuple[Holdfast, SmtpServer], tmp_path: Path
) -> None:
    holdfast, server = by_email
    (tmp_path / "templates" / "note.email.ar.html").write_text(EMAIL.replace("Hello", "مرحبا"))
    for locale in ("ar-EG", "de"):
        assert holdfast("send-test", "hello", "--to", "a@b.example", "--locale", locale).code == 0
    assert [mail.parsed["Subject"] for mail in server.mails] == ["[Test] مرحبا Anna", "[Test] Hello Anna"]
