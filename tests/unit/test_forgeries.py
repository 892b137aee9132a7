"""Twelve thousand webhooks and tokens that nobody signed: each is refused, and as it is documented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest

from channels import adapter, known_adapters
from holdfast.channel import Receiver
from holdfast.errors import AnswerRefused
from holdfast.tokens import Signer, TokenExpired, TokenForged
from tests.forging import providers as forging
from tests.forging import tokens
from tests.forging.webhooks import NOW, Forgery, Provider

WEBHOOKS = TOKENS = 6000
SEED = 20_260_603
SIGNER = Signer(tokens.SECRET, b"an older secret, 32 bytes long..")


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Provider]]:
    made = forging.providers(tmp_path_factory.mktemp("sandbox"))
    yield made
    forging.close(made)


def test_every_channel_that_is_called_believes_what_is_genuine(providers: list[Provider]) -> None:
    called = {made for name in known_adapters() if issubclass(made := adapter(name), Receiver)}
    assert called == {type(provider.channel) for provider in providers}
    for provider in providers:
        for body in provider.bodies:
            provider.channel.verify(provider.genuine(body), body, NOW)


def test_no_forged_webhook_is_believed(providers: list[Provider]) -> None:
    random = Random(SEED)  # noqa: S311
    tried: Counter[tuple[str, str]] = Counter()
    for provider in providers:
        for forgery in islice(provider.forgeries(random), -(-WEBHOOKS // len(providers))):
            assert not is_believed(provider, forgery), forgery
            tried[forgery.provider, forgery.what] += 1
    assert tried.total() >= WEBHOOKS
    assert min(tried.values()) > 10, tried


def is_believed(provider: Provider, forgery: Forgery) -> bool:
    try:
        provider.channel.verify(forgery.headers, forgery.body, NOW)
    except AnswerRefused:
        return False
    return True


def test_every_way_to_read_a_token_reads_what_is_genuine() -> None:
    kinds = tokens.kinds()
    assert {name for name in dir(Signer) if name.startswith("verify")} == {kind.method for kind in kinds}
    for kind in kinds:
        assert kind.verify(SIGNER, kind.sign(Signer(tokens.SECRET), tokens.TODAY))


def test_no_forged_token_is_believed() -> None:
    random = Random(SEED)  # noqa: S311
    tried: Counter[tuple[str, str]] = Counter()
    kinds = tokens.kinds()
    for kind in kinds:
        for what, token in islice(tokens.forged(kind, kinds, random), -(-TOKENS // len(kinds))):
            assert refusal_of(kind, token) is (TokenExpired if what == "old" else TokenForged), (kind, what)
            tried[kind.name, what] += 1
    assert tried.total() >= TOKENS
    assert min(tried.values()) > 5, tried


def refusal_of(kind: tokens.Kind, token: str) -> type[Exception] | None:
    try:
        kind.verify(SIGNER, token)
    except (TokenForged, TokenExpired) as refused:
        return type(refused)
    return None
