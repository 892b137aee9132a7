"""The mailbox that answers to letters come to: read over IMAP from a real server, and by `collect`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import select

from channels import returned_mail
from channels.imap_mailbox import Arrived, Mailbox
from channels.smtp import SmtpChannel, SmtpSettings
from channels.smtp_settings import MailboxSettings
from holdfast.channel import Polled, Response, ResponseKind
from holdfast.errors import ChannelUnavailable
from holdfast.responses import collect
from holdfast.store.cursors import write_cursor
from holdfast.tables import consents, responses, suppressions
from tests.integration.conftest import Bench
from tests.servers.imap_server import PASSWORD, USERNAME, ImapServer
from tests.servers.refusing_mailbox import RefusingMailbox
from tests.servers.smtp_server import Mail, SmtpServer

NOTICES = Path(__file__).parents[1] / "notices"
# What does not depend on the engine is tried on one.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
BOTH = pytest.mark.parametrize("security", ["tls", "starttls"])


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[ImapServer]:
    with ImapServer(authority) as running:
        yield running


def settings(port: int, ca_file: Path, **changes: Any) -> dict[str, Any]:
    login = {"username": USERNAME, "password": PASSWORD}
    return {"host": "127.0.0.1", "port": port, "ca_file": ca_file, "timeout": "30s", **login, **changes}


def mailbox(port: int, ca_file: Path, **changes: Any) -> Mailbox:
    return Mailbox("email", MailboxSettings.model_validate(settings(port, ca_file, **changes)))


def named(letter: Arrived) -> Response:
    """A response that is named as the letter's subject says."""
    return Response(ResponseKind.REPLIED, letter.content.decode().split()[1], letter.at)


def names(polled: Polled) -> list[str]:
    return [found.event_id for found in polled.responses]


def subjects(*numbers: int) -> list[bytes]:
    return [f"Subject: {number}\r\n\r\nHello\r\n".encode() for number in numbers]


# --- what is new ----------------------------------------------------------------------------------


@BOTH
def test_what_is_new_is_read_once_and_the_mailbox_stays_as_it_was(
    security: str, authority: trustme.CA, ca_file: Path
) -> None:
    with ImapServer(authority, starttls=security == "starttls") as server:
        read = mailbox(server.port, ca_file, security=security).read
        server.put(*subjects(1, 2))
        first = read("", named)
        again = read(first.cursor, named)
        server.put(*subjects(3))
        third = read(again.cursor, named)
        assert [names(first), names(again), names(third)] == [["1", "2"], [], ["3"]]
        assert again.cursor == first.cursor != third.cursor
        assert server.flags() == [(), (), ()]


def test_an_empty_mailbox_is_remembered_too(server: ImapServer, ca_file: Path) -> None:
    read = mailbox(server.port, ca_file).read
    first = read("", named)
    server.put(*subjects(1))
    assert (names(first), names(read(first.cursor, named))) == ([], ["1"])


def test_letters_came_when_the_mail_server_took_them(server: ImapServer, ca_file: Path) -> None:
    at = datetime(2026, 6, 3, 12, 5, tzinfo=UTC)
    server.put(b"Date: Mon, 1 Jan 2035 00:00:00 +0000\r\n\r\n1", at=at)
    [found] = (
        mailbox(server.port, ca_file).read("", lambda it: Response(ResponseKind.REPLIED, "", it.at)).responses
    )
    assert found.occurred_at == at


def test_letters_that_tell_nothing_are_passed_by(server: ImapServer, ca_file: Path) -> None:
    server.put(*subjects(1, 2, 3))
    read = mailbox(server.port, ca_file).read
    found = read("", lambda letter: named(letter) if b": 2" in letter.content else None)
    assert (names(found), names(read(found.cursor, named))) == (["2"], [])


def test_a_mailbox_that_was_numbered_anew_is_read_again(server: ImapServer, ca_file: Path) -> None:
    with server.client() as client:
        client.create_folder("Bounces")
    server.put(*subjects(1, 2), folder="Bounces")
    read = mailbox(server.port, ca_file, folder="Bounces").read
    before = read("", named)
    with server.client() as client:
        client.delete_folder("Bounces")
        client.create_folder("Bounces")
    server.put(*subjects(2), folder="Bounces")
    after = read(before.cursor, named)
    assert (names(before), names(after)) == (["1", "2"], ["2"])


@pytest.mark.parametrize("cursor", ["nonsense", "1:1", "99999999999999:1", "-1:-1"])
def test_a_cursor_of_nothing_begins_anew(cursor: str, server: ImapServer, ca_file: Path) -> None:
    server.put(*subjects(1))
    assert names(mailbox(server.port, ca_file).read(cursor, named)) == ["1"]


def test_of_a_huge_letter_the_beginning_is_read(server: ImapServer, ca_file: Path) -> None:
    server.put(b"Subject: 1\r\n\r\n" + b"x" * 3_000_000, *subjects(2))
    sizes = []
    mailbox(server.port, ca_file).read("", lambda letter: sizes.append(len(letter.content)))
    assert sizes == [131_072, 21]


def test_a_poll_reads_so_many_letters_and_the_next_one_goes_on(
    server: ImapServer, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.imap_mailbox._LETTERS_A_POLL", 7)
    monkeypatch.setattr("channels.imap_mailbox._LETTERS_AT_ONCE", 3)
    server.put(*subjects(*range(1, 11)))
    read = mailbox(server.port, ca_file).read
    first = read("", named)
    second = read(first.cursor, named)
    assert names(first) == [str(number) for number in range(1, 8)]
    assert names(second) == ["8", "9", "10"]


def test_what_was_read_before_the_server_broke_off_counts(
    server: ImapServer, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.imap_mailbox._LETTERS_AT_ONCE", 2)
    server.put(*subjects(1, 2, 3, 4))

    def breaking_off(letter: Arrived) -> Response:
        server.close()
        return named(letter)

    found = mailbox(server.port, ca_file).read("", breaking_off)
    assert names(found) == ["1", "2"]
    assert found.cursor.endswith(":102")


def test_a_letter_that_the_server_cannot_give_keeps_back_none_after_it(
    authority: trustme.CA, ca_file: Path
) -> None:
    with RefusingMailbox(authority, 5, refused={2, 4}) as server:
        found = mailbox(server.port, ca_file).read("", named)
    assert (names(found), found.cursor) == (["1", "3", "5"], "7:5")


@pytest.mark.timeout(60)
def test_a_flood_of_letters_is_read_piece_by_piece(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.imap_mailbox._LETTERS_A_POLL", 3)
    with RefusingMailbox(authority, 200_000, refused=()) as server:  # their numbers are more than a megabyte
        found = mailbox(server.port, ca_file).read("", named)
    assert (names(found), found.cursor) == (["1", "2", "3"], "7:3")


def test_a_server_that_gives_no_letter_is_asked_for_them_again(authority: trustme.CA, ca_file: Path) -> None:
    with (
        RefusingMailbox(authority, 2, refused={1, 2}) as server,
        pytest.raises(ChannelUnavailable, match="cannot be read"),
    ):
        mailbox(server.port, ca_file).read("", named)


# --- what cannot be read --------------------------------------------------------------------------


def other_authority(authority: trustme.CA) -> trustme.LeafCert:
    return trustme.CA().issue_cert("127.0.0.1")


def other_host(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("imap.other.example")


def expired(authority: trustme.CA) -> trustme.LeafCert:
    dates = {"not_before": datetime(2000, 1, 1, tzinfo=UTC), "not_after": datetime(2001, 1, 1, tzinfo=UTC)}
    return authority.issue_cert("127.0.0.1", **dates)


@BOTH
@pytest.mark.parametrize(
    ("certificate", "fault"),
    [
        (other_authority, "is signed by nobody who is trusted here"),
        (other_host, "is for another host"),
        (expired, "has expired"),
    ],
)
def test_a_certificate_that_proves_nothing_gets_no_password(
    security: str,
    certificate: Callable[[trustme.CA], trustme.LeafCert],
    fault: str,
    authority: trustme.CA,
    ca_file: Path,
) -> None:
    with (
        ImapServer(authority, starttls=security == "starttls", certificate=certificate(authority)) as server,
        pytest.raises(ChannelUnavailable, match=f"has a certificate that {fault}") as error,
    ):
        mailbox(server.port, ca_file, security=security).read("", named)
    assert str(error.value).startswith(f"channel 'email': the mailbox at 127.0.0.1:{server.port} has")
    assert error.value.hint == "correct mailbox.host or mailbox.ca_file"


def test_a_wrong_password_needs_an_operator_and_is_not_shown(server: ImapServer, ca_file: Path) -> None:
    with pytest.raises(ChannelUnavailable, match="refuses the login") as error:
        mailbox(server.port, ca_file, password="wr0ng").read("", named)
    assert "wr0ng" not in f"{error.value!r}{error.value.hint}{error.value.__cause__!r}"


def test_a_folder_that_is_not_there_is_told(server: ImapServer, ca_file: Path) -> None:
    with pytest.raises(ChannelUnavailable, match="cannot be read, or has no folder 'Post & Büro'"):
        mailbox(server.port, ca_file, folder="Post & Büro").read("", named)


def test_a_server_that_is_down_is_asked_again_later(server: ImapServer, ca_file: Path) -> None:
    server.close()
    with pytest.raises(ChannelUnavailable, match="does not answer now"):
        mailbox(server.port, ca_file).read("", named)


def test_tls_where_there_is_none_is_told(authority: trustme.CA, ca_file: Path) -> None:
    with (
        ImapServer(authority, starttls=True) as server,
        pytest.raises(ChannelUnavailable, match="does not speak TLS on this port"),
    ):
        mailbox(server.port, ca_file).read("", named)


@contextmanager
def answering(*lines: bytes) -> Iterator[int]:
    """A server that says these lines to whoever connects, and is silent then."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for line in lines:
                    connection.sendall(line + b"\r\n")
                while connection.recv(1000):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(30)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((b"SSH-2.0-OpenSSH_9.2",), "does not answer now"),
        ((b"* OK hello",), "does not answer now"),
        ((b"* BYE too busy",), "cannot be read"),
        ((b"\xff" * 10,), "does not answer now"),
    ],
)
def test_a_port_that_does_not_speak_imap_is_told(
    lines: tuple[bytes, ...], problem: str, ca_file: Path
) -> None:
    with answering(*lines) as port, pytest.raises(ChannelUnavailable, match=problem):
        mailbox(port, ca_file, security="starttls", timeout=timedelta(seconds=0.5)).read("", named)


# --- by collect -----------------------------------------------------------------------------------


def notice(name: str, key: str) -> bytes:
    text = (NOTICES / f"{name}.eml").read_bytes()
    return text.replace(b"KEY", key.encode()).replace(b"\n", b"\r\n")


def key_of(mail: Mail) -> str:
    return mail.sender.removeprefix("bounce+").partition("@")[0]


@pytest.fixture
def channel(relay: SmtpServer, server: ImapServer, ca_file: Path) -> Iterator[SmtpChannel]:
    given = {
        "host": "127.0.0.1",
        "port": relay.port,
        "security": "none",
        "bounce_address": "bounce@r.acme.example",
        "mailbox": settings(server.port, ca_file),
    }
    opened = SmtpChannel("sms", SmtpSettings.model_validate(given))
    yield opened
    opened.close()


@pytest.fixture
def relay() -> Iterator[SmtpServer]:
    with SmtpServer() as running:
        yield running


def send(bench: Bench, channel: SmtpChannel, relay: SmtpServer, customers: int) -> list[str]:
    """A letter to each customer; the keys, by customer."""
    bench.edit(
        "note.email.html", "{% block subject %}Hello{% endblock %}{% block body %}<p>Hi</p>{% endblock %}"
    )
    bench.campaign_by(channel, "customer{}@example.com", customers)
    bench.run()
    assert bench.states() == {("accepted", None): customers}
    keys = {mail.recipient: key_of(mail) for mail in relay.mails}
    bench.clock.now = datetime.now(UTC) + timedelta(minutes=1)  # the mailbox has its own clock
    return [keys[f"customer{number}@example.com"] for number in range(1, customers + 1)]


@on_sqlite
def test_what_comes_back_by_mail_changes_what_is_sent(
    bench: Bench, channel: SmtpChannel, relay: SmtpServer, server: ImapServer
) -> None:
    keys = send(bench, channel, relay, 9)
    told = [
        *("postfix_unknown_user", "gmail_over_quota", "qmail", "postfix_delayed", "feedback_report"),
        *("reply_gmail", "reply_phone_stop", "vacation"),
    ]
    server.put(*(notice(name, key) for name, key in zip(told, keys[:8], strict=True)))
    # Made up: a guessed key, the number of another message with a genuine signature, a stranger's domain.
    server.put(notice("postfix_unknown_user", f"9.{'A' * 43}"))
    server.put(notice("postfix_unknown_user", f"9.{keys[0].partition('.')[2]}"))
    server.put(notice("reply_phone_stop", keys[8]).replace(b"r.acme.example", b"other.example"))

    first = collect(bench.ws, bench.clock.now)
    again = collect(bench.ws, bench.clock.now)

    assert (first.new, first.unknown, first.problems) == (9, 2, ())
    assert (again.new, again.repeated, again.problems) == (0, 0, ())
    with bench.ws.database.read() as connection:
        suppressed = dict(connection.execute(select(suppressions.c.address_key, suppressions.c.reason)).all())
        withdrawn = list(connection.scalars(select(consents.c.customer_id).where(~consents.c.granted)))
        said = list(connection.scalars(select(responses.c.text).where(responses.c.text.is_not(None))))
    assert suppressed == {"customer1@example.com": "bounced", "customer5@example.com": "complained"}
    assert withdrawn == [5, 7]
    assert said == ["Do you have the blue one in Größe 40?", "STOP\n\nSent from my phone"]
    assert [bool(row.bounced_at) for row in bench.messages()] == [True] * 3 + [False] * 6
    assert [bool(row.replied_at) for row in bench.messages()] == [False] * 5 + [True] + [False] * 3


@on_sqlite
def test_a_mailbox_that_is_read_from_its_start_again_changes_nothing(
    bench: Bench, channel: SmtpChannel, relay: SmtpServer, server: ImapServer
) -> None:
    [key] = send(bench, channel, relay, 1)
    server.put(notice("postfix_unknown_user", key), notice("reply_gmail", key))
    first = collect(bench.ws, bench.clock.now)
    with bench.ws.database.write() as connection:
        write_cursor(connection, "poll:sms", "", bench.clock.now)
    again = collect(bench.ws, bench.clock.now)
    assert (first.new, first.repeated, again.new, again.repeated) == (2, 0, 0, 2)


@on_sqlite
def test_a_mailbox_that_cannot_be_read_is_a_problem_of_its_own(
    bench: Bench, channel: SmtpChannel, relay: SmtpServer, server: ImapServer
) -> None:
    send(bench, channel, relay, 1)
    server.close()
    [problem] = collect(bench.ws, bench.clock.now).problems
    assert problem == f"sms: channel 'sms': the mailbox at 127.0.0.1:{server.port} does not answer now"


def test_a_letter_that_the_reader_stumbles_over_keeps_back_none_after_it(
    channel: SmtpChannel, server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbling(content: bytes, *rest: Any) -> Response | None:
        if b"qmail" in content:
            raise AttributeError
        return returned_mail.response(content, *rest)

    monkeypatch.setattr("channels.smtp.response", stumbling)
    server.put(notice("qmail", "1.A"), notice("exim_plain", "2.B"))
    assert [found.key for found in channel.poll("").responses] == ["2.B"]


def test_a_channel_without_a_mailbox_has_nothing_to_tell() -> None:
    channel = SmtpChannel("email", SmtpSettings(host="mx.invalid", bounce_address="b@r.acme.example"))
    assert channel.poll("") == Polled((), "")
    channel.close()
