"""Mail by SMTP: the channel, and the send path over it, against bare smtplib over as many connections.

The letters are the shipped template's, 16 kB each, and composed by the same code on both sides.
"""

from __future__ import annotations

import smtplib
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import dkim
from pydantic import SecretStr

from channels.dkim_signature import DkimSigner
from channels.mime import Letter, compose
from channels.smtp import SmtpChannel, SmtpSettings
from channels.smtp_settings import DkimSettings
from holdfast.channel import Accepted, Capabilities, Channel, Message
from holdfast.store.database import Database
from tests.benchmarks.databases import SqliteFiles
from tests.benchmarks.loops import (
    Enrolled,
    all_messages,
    bare_loop,
    check_sent,
    check_taken,
    enrolled_shop,
    rendered,
    send_path,
)
from tests.benchmarks.measuring import Bound, Taken, measure, stopwatch
from tests.benchmarks.projects import hello
from tests.benchmarks.sink import Total
from tests.contract.dkim_key import pem

QUICK = ["--messages", "2000", "--rounds", "1"]
LEAST_RATIO = 0.7
LARGEST_SHARE_OF_DKIMPY = 0.2


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=20_000, help="customers to write to")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")


def run(arguments: Namespace) -> list[Bound]:
    """Letters that are rendered before, by the channel alone; then a run, by the whole send path."""
    with TemporaryDirectory(prefix="holdfast-bench-") as folder, _running_server() as server:
        shop = enrolled_shop(SqliteFiles(Path(folder)), arguments.messages)
        bounds = [_channel(shop, server, arguments.rounds), _send_path(shop, server, arguments.rounds)]
        return [*bounds, _signing(shop, arguments.rounds)]


def _channel(shop: Enrolled, server: MailServer, rounds: int) -> Bound:
    print(f"\n{shop.due:,} letters over {server.connections} connections")
    letters = _letters(shop)
    taken = measure(
        rounds,
        shop.due,
        bare_smtplib=partial(_timed, server.post, letters),
        channel=partial(_timed, partial(_through_channel, server), letters),
    )
    check_taken(server, 2 * rounds * shop.due)
    return _bound("the channel", taken["bare_smtplib"], taken["channel"])


def _send_path(shop: Enrolled, server: MailServer, rounds: int) -> Bound:
    print(f"\n{shop.due:,} messages of a run, from the database")

    def ours() -> Taken:
        location = shop.copy()
        taken = send_path(location, server, shop.now, 1).taken
        check_sent(location, shop.due)
        return taken

    def bare() -> Taken:
        return bare_loop(shop.copy(), server, shop.now, 1)

    taken = measure(rounds, shop.due, bare_loop=bare, send_path=ours)
    check_taken(server, 2 * rounds * shop.due)
    return _bound("the send path", taken["bare_loop"], taken["send_path"])


def _signing(shop: Enrolled, rounds: int) -> Bound:
    composed = [compose(message, formatdate()) for message in _letters(shop)[:1000]]
    letters = [letter.content for letter in composed if isinstance(letter, Letter)]
    print(f"\n{len(letters):,} letters signed")
    key = pem()
    settings = DkimSettings(domain="acme.example", selector="s1", key=SecretStr(key))
    signer = DkimSigner("email", settings)
    library = partial(dkim.sign, selector=b"s1", domain=b"acme.example", privkey=key.encode())
    taken = measure(
        rounds,
        len(letters),
        dkimpy=partial(_each, library, letters),
        ours=partial(_each, signer.signed, letters),
    )
    ratio = taken["ours"].wall / taken["dkimpy"].wall
    return Bound("signing letters, over dkimpy", ratio, LARGEST_SHARE_OF_DKIMPY)


def _each(sign: Callable[[bytes], bytes], letters: Sequence[bytes]) -> Taken:
    with stopwatch() as elapsed:
        for letter in letters:
            sign(letter)
        return elapsed()


def _bound(what: str, bare: Taken, ours: Taken) -> Bound:
    return Bound(f"mail by SMTP, {what} over bare smtplib", bare.wall / ours.wall, LEAST_RATIO, at_least=True)


def _letters(shop: Enrolled) -> list[Message]:
    ws = hello(Database(shop.copy()))
    found = [letter for _, some in rendered(ws, shop.now, all_messages(ws.database)) for letter in some]
    ws.close()
    return found


def _timed(send: Callable[[Sequence[Message]], None], letters: Sequence[Message]) -> Taken:
    with stopwatch() as elapsed:
        send(letters)
        return elapsed()


def _through_channel(server: MailServer, letters: Sequence[Message]) -> None:
    channel = server.channels().open("email")
    with ThreadPoolExecutor(server.connections) as pool:
        outcomes = [outcome for each in pool.map(channel.send, channel.batches(letters)) for outcome in each]
    channel.close()
    if not all(isinstance(outcome, Accepted) for outcome in outcomes):
        raise SystemExit("the channel could not send every letter")


# --- the server, and who talks to it --------------------------------------------------------------


class MailServer:
    """The counting mail server, as bare smtplib sends to it and as a channel."""

    def __init__(self, port: int) -> None:
        self.settings = SmtpSettings(host="127.0.0.1", port=port, security="none", helo="bench.example")
        self.connections = self.settings.concurrency

    def __reduce__(self) -> tuple[type[MailServer], tuple[int]]:
        return MailServer, (self.settings.address[1],)

    def post(self, messages: Sequence[Message]) -> None:
        """An equal share of the letters over each connection."""
        date = formatdate()
        shares = [messages[place :: self.connections] for place in range(self.connections)]
        with ThreadPoolExecutor(self.connections) as pool:
            for _ in pool.map(partial(self._post, date), shares):
                pass

    def _post(self, date: str, messages: Sequence[Message]) -> None:
        with self._connection() as smtp:
            for message in messages:
                match compose(message, date):
                    case Letter(sender, recipient, _, content):
                        smtp.sendmail(sender, recipient, content)

    def taken(self) -> Total:
        with self._connection() as smtp:
            letters = int(smtp.noop()[1])
        return Total(letters, letters, 0)

    def channels(self) -> MailChannels:
        return MailChannels(self.settings)

    def _connection(self) -> smtplib.SMTP:
        return smtplib.SMTP(*self.settings.address, self.settings.helo)


class MailChannels:
    """A project whose every channel is the mail server."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings

    def describe(self, name: str) -> Capabilities:
        return SmtpChannel.describe(self._settings)

    def open(self, name: str) -> Channel:
        return SmtpChannel(name, self._settings)


@contextmanager
def _running_server() -> Iterator[MailServer]:
    command = [sys.executable, "-m", "tests.servers.smtp_sink"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield MailServer(int(process.stdout.readline()))
        process.stdin.close()
