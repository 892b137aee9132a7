"""The SMTP channel against real servers that refuse, hang, drop, and lie about who they are."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dkim
import pytest
import trustme

from channels.smtp import SmtpChannel, SmtpSettings
from holdfast.channel import Accepted, InDoubt, Rejected, RejectReason, Retry, Skeleton
from holdfast.errors import ChannelUnavailable
from tests.contract.dkim_key import RECORD, pem
from tests.contract.letters import message, messages
from tests.servers.smtp_server import Act, Script, SmtpServer

# aiosmtpd does not count TLS from the first byte as TLS.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

DROP, HANG = Act.DROP, Act.HANG
IMPATIENT = timedelta(seconds=0.5)


@contextmanager
def smtp_channel(port: int, **settings: Any) -> Iterator[SmtpChannel]:
    given = {"host": "127.0.0.1", "port": port, "security": "none", **settings}
    channel = SmtpChannel("email", SmtpSettings.model_validate(given))
    yield channel
    channel.close()


def served(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def accepted(number: int) -> Accepted:
    return Accepted(f"<{number}.c2lnbmF0dXJl-_{number}@acme.example>")


# --- what arrives ----------------------------------------------------------------------------------


def test_a_letter_arrives_as_it_was_written() -> None:
    words = "مرحبا يا فاطمة، Grüße 字 😀"
    body = f".\n..\n{words}\n.\nFrom here\n"
    skeleton = Skeleton(html=(f"<p>{body}", "</p>"), html_holes=(0,), text=(body, "."), text_holes=(0,))
    sent = message(subject=words, skeleton=skeleton, escaped=(words,), plain=(words,))
    with SmtpServer() as server, smtp_channel(server.port) as channel:
        assert channel.send([sent]) == [accepted(1)]
    [mail] = server.mails
    assert (mail.sender, mail.recipient) == ("hello@acme.example", "customer1@example.com")
    text, html = mail.parsed.get_body(("plain",)), mail.parsed.get_body(("html",))
    assert text is not None
    assert html is not None
    assert mail.parsed["Subject"] == words
    assert mail.parsed["Message-ID"] == "<1.c2lnbmF0dXJl-_1@acme.example>"
    assert mail.parsed["List-Unsubscribe"] == sent.headers["List-Unsubscribe"]
    assert text.get_content().replace("\r\n", "\n") == sent.text
    assert html.get_content().replace("\r\n", "\n") == sent.html


def test_an_international_domain_is_written_in_ascii() -> None:
    with SmtpServer(smtputf8=False) as server, smtp_channel(server.port) as channel:
        assert channel.send([message(1, to="ann@bücher.example")]) == [accepted(1)]
    assert server.mails[0].recipient == "ann@xn--bcher-kva.example"


def test_an_international_local_part_goes_where_the_server_takes_it() -> None:
    with SmtpServer(smtputf8=True) as server, smtp_channel(server.port) as channel:
        assert channel.send([message(1, to="анна@пример.рф")]) == [accepted(1)]
    assert server.mails[0].recipient == "анна@xn--e1afmkfd.xn--p1ai"
    assert 'To: "Ann" <анна@xn--e1afmkfd.xn--p1ai>'.encode() in server.mails[0].content


def test_an_international_local_part_is_rejected_where_the_server_does_not_take_it() -> None:
    with SmtpServer(smtputf8=False) as server, smtp_channel(server.port) as channel:
        outcomes = channel.send([message(1, to="анна@пример.рф"), message(2)])
    assert outcomes == [Rejected(RejectReason.BAD_ADDRESS, "no SMTPUTF8"), accepted(2)]


def test_a_bad_address_never_reaches_the_server() -> None:
    with SmtpServer() as server, smtp_channel(server.port) as channel:
        outcomes = channel.send([message(1, to="a@b.example>\r\nRCPT TO:<c@d.example"), message(2)])
    assert outcomes == [Rejected(RejectReason.BAD_ADDRESS, "not an email address"), accepted(2)]
    assert [mail.recipient for mail in server.mails] == ["customer2@example.com"]


def test_a_letter_arrives_signed_and_bounces_to_an_address_that_names_it() -> None:
    dots = message(skeleton=Skeleton(text=(".\n..\nten\n.\n",)), escaped=(), plain=())
    settings = {
        "dkim": {"domain": "acme.example", "selector": "s1", "key": pem()},
        "bounce_address": "bounce@r.acme.example",
    }
    with SmtpServer() as server, smtp_channel(server.port, **settings) as channel:
        assert channel.send([dots]) == [Accepted("<1.c2lnbmF0dXJl-_1@r.acme.example>")]
    [mail] = server.mails
    assert mail.sender == "bounce+1.c2lnbmF0dXJl-_1@r.acme.example"
    assert mail.parsed["From"] == "Acme <hello@acme.example>"
    assert dkim.verify(mail.content, dnsfunc=lambda name, timeout: RECORD)
    assert not dkim.verify(mail.content.replace(b"/u/1.abc", b"/u/2.abc"), dnsfunc=lambda *_, **__: RECORD)


# --- refusals, by phase ----------------------------------------------------------------------------

BAD_ADDRESS = Rejected(RejectReason.BAD_ADDRESS, "550 5.1.1")
LOST = Retry(detail="connection lost")
NO_ANSWER = InDoubt(detail="no answer to the letter")


@pytest.mark.parametrize(
    ("script", "second", "connections"),
    [
        ({"RCPT": [None, "550 5.1.1 <customer2@example.com> unknown"]}, BAD_ADDRESS, 1),
        ({"RCPT": [None, "450 4.2.0 greylisted"]}, Retry(detail="450 4.2.0", of_recipient=True), 1),
        ({"RCPT": [None, "421 4.3.2 bye"]}, Retry(detail="421 4.3.2"), 2),
        ({"MAIL": [None, "451 4.3.0 try later"]}, Retry(detail="451 4.3.0"), 1),
        ({"MAIL": [None, "552 5.3.4 too big"]}, Rejected(RejectReason.TOO_LARGE, "552 5.3.4"), 1),
        ({"DATA": [None, "451 4.3.0 not now"]}, Retry(detail="451 4.3.0"), 1),
        ({"DATA": [None, "250 what?"]}, Retry(detail="an answer that is not SMTP"), 2),
        ({"END": [None, "554 5.7.1 spam"]}, Rejected(RejectReason.BLOCKED, "554 5.7.1"), 1),
        ({"END": [None, "452 4.3.1 disk full"]}, Retry(detail="452 4.3.1"), 1),
        ({"END": [None, "hello"]}, InDoubt(detail="an answer that is not SMTP"), 2),
        ({"MAIL": [None, DROP]}, LOST, 2),
        ({"RCPT": [None, DROP]}, LOST, 2),
        ({"DATA": [None, DROP]}, LOST, 2),
        ({"END": [None, DROP]}, NO_ANSWER, 2),
        ({"MAIL": [None, HANG]}, LOST, 2),
        ({"END": [None, HANG]}, NO_ANSWER, 2),
    ],
    ids=str,
)
def test_what_happens_to_one_letter_is_told_exactly_and_costs_the_others_nothing(
    script: Script, second: object, connections: int
) -> None:
    with SmtpServer(script) as server, smtp_channel(server.port, timeout=IMPATIENT) as channel:
        outcomes = channel.send(messages(4))
        assert outcomes == [accepted(1), second, accepted(3), accepted(4)]
        assert server.connections == connections
    assert [mail.recipient for mail in server.mails] == [
        f"customer{number}@example.com" for number in (1, 3, 4)
    ]


def test_a_letter_lost_in_the_middle_of_its_content_was_certainly_not_taken() -> None:
    # Larger than what the sockets between us can hold, so that the final dot cannot have left.
    large = message(1, skeleton=Skeleton(html=("<p>x</p>\n" * 2_000_000,)), escaped=(), plain=())
    with SmtpServer({"BODY": [DROP]}) as server, smtp_channel(server.port) as channel:
        assert channel.send([large, message(2)]) == [LOST, accepted(2)]


def test_a_provider_that_took_the_letter_and_then_fell_silent_leaves_it_in_doubt_alone() -> None:
    with (
        SmtpServer({"END": [None, HANG, None, HANG]}) as server,
        smtp_channel(server.port, timeout=IMPATIENT) as channel,
    ):
        outcomes = channel.send(messages(6))
        # Two connections lost are enough for one call: the rest is for later.
        assert outcomes == [accepted(1), NO_ANSWER, accepted(3), NO_ANSWER, LOST, LOST]
        assert server.connections == 2
        assert channel.send(messages(2, start=5)) == [accepted(5), accepted(6)]


def test_a_refused_recipient_by_address() -> None:
    refused = {"customer2@example.com": "552 5.2.2 customer2@example.com is over quota"}
    with SmtpServer(refused=refused) as server, smtp_channel(server.port) as channel:
        outcomes = channel.send(messages(3))
    assert outcomes == [accepted(1), Rejected(RejectReason.MAILBOX_FULL, "552 5.2.2"), accepted(3)]


# --- no way to the server --------------------------------------------------------------------------


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_refused_connection_leaves_everything_for_later() -> None:
    with smtp_channel(closed_port()) as channel:
        assert channel.send(messages(3)) == [Retry(detail="ECONNREFUSED")] * 3


def test_an_unknown_host_leaves_everything_for_later() -> None:
    with smtp_channel(25, host="mail.invalid") as channel:
        assert channel.send(messages(2)) == [Retry(detail="host not found")] * 2


@pytest.mark.parametrize(
    ("banner", "detail"),
    [("421 4.3.2 too busy", "421 4.3.2"), (DROP, "connection lost"), (HANG, "connection lost")],
    ids=str,
)
def test_a_server_that_does_not_greet_leaves_everything_for_later(banner: str | Act, detail: str) -> None:
    with (
        SmtpServer({"BANNER": [banner]}) as server,
        smtp_channel(server.port, timeout=IMPATIENT) as channel,
    ):
        assert channel.send(messages(2)) == [Retry(detail=detail)] * 2
        assert channel.send(messages(2)) == [accepted(1), accepted(2)]


def test_a_server_that_greets_with_a_refusal_needs_an_operator() -> None:
    with (
        SmtpServer({"BANNER": ["554 5.7.1 your address is on a list"]}) as server,
        smtp_channel(server.port) as channel,
        pytest.raises(ChannelUnavailable, match=r"refuses to talk to us \(554 5.7.1\)"),
    ):
        channel.send(messages(2))


def test_a_server_that_goes_away_in_the_middle_leaves_the_rest_for_later() -> None:
    script: Script = {"MAIL": [None, None, DROP], "BANNER": [None, "421 4.3.2 shutting down"]}
    with SmtpServer(script) as server, smtp_channel(server.port) as channel:
        assert channel.send(messages(5)) == [
            accepted(1),
            accepted(2),
            LOST,
            *[Retry(detail="421 4.3.2")] * 2,
        ]


def test_a_server_that_stopped_is_found_out_before_anything_is_sent() -> None:
    with SmtpServer() as server, smtp_channel(server.port) as channel:
        assert channel.send(messages(1)) == [accepted(1)]
        server.close()
        assert channel.send(messages(2)) == [Retry(detail="ECONNREFUSED")] * 2


def test_a_pooled_connection_that_went_stale_is_replaced_without_loss() -> None:
    with SmtpServer() as server, smtp_channel(server.port) as channel:
        assert channel.send(messages(1)) == [accepted(1)]
        server.drop_connections()
        assert channel.send(messages(2, start=2)) == [accepted(2), accepted(3)]
        assert server.connections == 2


# --- who needs an operator -------------------------------------------------------------------------


def test_a_sender_that_the_server_refuses_needs_an_operator_and_rejects_nobody() -> None:
    with (
        SmtpServer({"MAIL": ["550 5.7.1 hello@acme.example is not yours"]}) as server,
        smtp_channel(server.port) as channel,
        pytest.raises(ChannelUnavailable) as error,
    ):
        channel.send(messages(2))
    assert str(error.value) == (
        f"channel 'email': the mail server 127.0.0.1:{server.port} takes nothing from this sender (550 5.7.1)"
    )


def test_a_sender_refused_after_letters_were_taken_leaves_the_rest_for_later() -> None:
    with (
        SmtpServer({"MAIL": [None, "550 5.4.5 daily quota"]}) as server,
        smtp_channel(server.port) as channel,
    ):
        assert channel.send(messages(3)) == [accepted(1), *[Retry(detail="channel unavailable")] * 2]


def test_a_sender_that_is_no_mailbox_needs_an_operator_and_no_connection() -> None:
    with SmtpServer() as server, smtp_channel(server.port) as channel:
        with pytest.raises(ChannelUnavailable, match="the sender is not a mailbox"):
            channel.send([message(1), message(2, sender="Acme")])
        assert server.connections == 0


# --- TLS and logins --------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("security", ["starttls", "tls"])


def secured(security: str, context: ssl.SSLContext, **options: Any) -> SmtpServer:
    return SmtpServer(**{security: context}, **options)


@BOTH
def test_letters_go_over_tls_after_a_login(security: str, authority: trustme.CA, ca_file: Path) -> None:
    context = served(authority.issue_cert("127.0.0.1"))
    login = {"username": "acme", "password": "s3cret"}
    with (
        secured(security, context, login=("acme", "s3cret")) as server,
        smtp_channel(server.port, security=security, ca_file=ca_file, **login) as channel,
    ):
        assert channel.send(messages(2)) == [accepted(1), accepted(2)]
        assert channel.send(messages(1, start=3)) == [accepted(3)]
        assert server.connections == 1


@BOTH
def test_a_wrong_password_needs_an_operator_and_is_not_shown(
    security: str, authority: trustme.CA, ca_file: Path
) -> None:
    context = served(authority.issue_cert("127.0.0.1"))
    login = {"username": "acme", "password": "wr0ng"}
    with (
        secured(security, context, login=("acme", "s3cret")) as server,
        smtp_channel(server.port, security=security, ca_file=ca_file, **login) as channel,
        pytest.raises(ChannelUnavailable) as error,
    ):
        channel.send(messages(1))
    assert str(error.value) == (
        f"channel 'email': the mail server 127.0.0.1:{server.port} refuses the login (535 5.7.8)"
    )
    assert "wr0ng" not in f"{error.value!r}{error.value.hint}{error.value.__cause__!r}"
    assert server.mails == []


def other_authority(authority: trustme.CA) -> trustme.LeafCert:
    return trustme.CA().issue_cert("127.0.0.1")


def expired(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert(
        "127.0.0.1", not_before=datetime(2000, 1, 1, tzinfo=UTC), not_after=datetime(2001, 1, 1, tzinfo=UTC)
    )


def other_host(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("mail.other.example")


@BOTH
@pytest.mark.parametrize(
    ("certificate", "fault"),
    [
        (other_authority, "is signed by nobody who is trusted here"),
        (expired, "has expired"),
        (other_host, "is for another host"),
    ],
)
def test_a_certificate_that_proves_nothing_needs_an_operator(
    security: str,
    certificate: Callable[[trustme.CA], trustme.LeafCert],
    fault: str,
    authority: trustme.CA,
    ca_file: Path,
) -> None:
    with (
        secured(security, served(certificate(authority))) as server,
        smtp_channel(server.port, security=security, ca_file=ca_file) as channel,
        pytest.raises(ChannelUnavailable, match=f"has a certificate that {fault}"),
    ):
        channel.send(messages(1))
    assert server.mails == []


def test_a_server_without_starttls_gets_no_letter() -> None:
    with (
        SmtpServer() as server,
        smtp_channel(server.port, security="starttls") as channel,
        pytest.raises(ChannelUnavailable, match="does not offer STARTTLS"),
    ):
        channel.send(messages(1))


def test_a_server_without_password_logins_gets_no_password(authority: trustme.CA, ca_file: Path) -> None:
    login = {"username": "acme", "password": "s3cret"}
    with (
        SmtpServer(starttls=served(authority.issue_cert("127.0.0.1"))) as server,
        smtp_channel(server.port, security="starttls", ca_file=ca_file, **login) as channel,
        pytest.raises(ChannelUnavailable, match="does not offer a login with a password"),
    ):
        channel.send(messages(1))


def test_a_port_that_does_not_speak_smtp_needs_an_operator() -> None:
    with (
        SmtpServer({"BANNER": ["SSH-2.0-OpenSSH_9.2"]}) as server,
        smtp_channel(server.port) as channel,
        pytest.raises(ChannelUnavailable, match="does not speak SMTP on this port"),
    ):
        channel.send(messages(1))


def test_a_login_that_is_missing_needs_an_operator(authority: trustme.CA, ca_file: Path) -> None:
    with (
        SmtpServer(starttls=served(authority.issue_cert("127.0.0.1")), login=("acme", "s3cret")) as server,
        smtp_channel(server.port, security="starttls", ca_file=ca_file) as channel,
        pytest.raises(ChannelUnavailable, match=r"takes nothing from this sender \(530 5.7.0\)"),
    ):
        channel.send(messages(1))


def test_a_port_that_does_not_speak_tls_needs_an_operator() -> None:
    with (
        SmtpServer() as server,
        smtp_channel(server.port, security="tls") as channel,
        pytest.raises(ChannelUnavailable, match="does not speak TLS on this port"),
    ):
        channel.send(messages(1))
