from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
import trustme

from channels.http_connections import Connections
from channels.public_addresses import PublicTransport, is_public, resolve
from holdfast.channel import InDoubt, Retry
from holdfast.errors import ChannelUnavailable
from tests.servers.stand_in import Answer, Request, StandIn

NAME = "hook.acme.example"


class Server(StandIn):
    def do(self, request: Request) -> Answer:
        return Answer(200, {"host": request.headers["host"]})


class Names:
    """A name server that gives these answers, one a question; the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def allowed(address: str) -> bool:
    """In these tests 127.0.0.1 is the public network, and 127.0.0.2 the one inside."""
    return address == "127.0.0.1"


@contextmanager
def connections(url: str, names: Names, trusted: ssl.SSLContext | None = None) -> Iterator[Connections]:
    opened = Connections(
        "shop",
        "webhook",
        url,
        concurrency=1,
        timeout=timedelta(seconds=10),
        transport=lambda context: PublicTransport(
            "shop", trusted or context, resolve=names, is_allowed=allowed
        ),
    )
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),  # noqa: S104
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::1", False),
        ("2001:0:1::1", False),
        ("not an address", False),
    ],
)
def test_addresses_that_anybody_could_reach_are_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected


def test_the_machine_knows_itself() -> None:
    assert set(resolve("localhost", 80)) <= {"127.0.0.1", "::1"}


def test_it_connects_to_the_address_that_it_checked_and_asks_once() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    with Server() as outside, Server(host="127.0.0.2", port=outside.port) as inside:
        with connections(f"http://{NAME}:{outside.port}", names) as opened:
            answer = opened.exchange("POST", "/hook")
            assert isinstance(answer, httpx.Response)
            assert answer.json() == {"host": f"{NAME}:{outside.port}"}
            assert names.asked == 1
            with pytest.raises(ChannelUnavailable, match="leads to an address that is not public"):
                opened.exchange("POST", "/hook")
        assert names.asked == 2
        assert (len(outside.requests), inside.requests) == (1, [])


@pytest.mark.parametrize("found", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
def test_one_address_inside_among_others_is_enough_to_refuse(found: list[str]) -> None:
    with Server() as outside, connections(f"http://{NAME}:{outside.port}", Names(found)) as opened:
        with pytest.raises(ChannelUnavailable):
            opened.exchange("POST", "/hook")
        assert outside.requests == []


def test_an_address_where_nobody_listens_is_passed_over() -> None:
    names = Names(["127.0.0.3", "127.0.0.1"])
    with Server() as server:
        transport = PublicTransport(
            "shop", httpx.create_ssl_context(), resolve=names, is_allowed=lambda address: True
        )
        with httpx.Client(transport=transport) as client:
            assert client.post(f"http://{NAME}:{server.port}/hook", json={"a": 1}).status_code == 200
        assert server.requests[0].body == b'{"a":1}'


def test_a_host_without_addresses_is_tried_again_later() -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise OSError

    for names in (Names([]), nobody):
        transport = PublicTransport("shop", httpx.create_ssl_context(), resolve=names)
        opened = Connections(
            "shop",
            "webhook",
            f"http://{NAME}",
            concurrency=1,
            timeout=timedelta(seconds=10),
            transport=lambda context, transport=transport: transport,  # type: ignore[misc]
        )
        assert opened.exchange("POST", "/hook") == Retry(detail="ConnectError")
        opened.close()


@pytest.mark.parametrize(("certified", "is_trusted"), [(NAME, True), ("other.example", False)])
def test_tls_asks_for_the_name_and_its_certificate(certified: str, is_trusted: bool) -> None:
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certified).configure_cert(served)
    asked_for: list[str | None] = []
    served.sni_callback = lambda connection, name, context: asked_for.append(name)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    with (
        Server(tls=served) as server,
        connections(f"https://{NAME}:{server.port}", Names(["127.0.0.1"]), trusted) as opened,
    ):
        if is_trusted:
            answer = opened.exchange("POST", "/hook")
            assert isinstance(answer, httpx.Response)
            assert answer.json() == {"host": f"{NAME}:{server.port}"}
        else:
            with pytest.raises(ChannelUnavailable, match="of webhook's address is for another host"):
                opened.exchange("POST", "/hook")
            assert server.requests == []
    assert asked_for == [NAME]


def test_a_proxy_of_the_environment_is_no_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as proxy, Server() as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with connections(f"http://{NAME}:{server.port}", Names(["127.0.0.1"])) as opened:
            assert not isinstance(opened.exchange("POST", "/hook"), Retry | InDoubt)
        assert proxy.requests == []
