"""A provider that changes its mind, as WireMock plays it; where `make prism` was run and Java is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest

from channels import open_channel
from holdfast.channel import Accepted, InDoubt, Retry
from holdfast.settings import ChannelConfig
from tests.contract.letters import message
from tests.servers import by_others


@dataclass(frozen=True)
class Provider:
    """An adapter's settings, the path that it posts to, and its provider's yes."""

    adapter: str
    settings: Mapping[str, Any]
    path: str
    yes: Mapping[str, Any]
    address: str


PROVIDERS = (
    Provider(
        "sendgrid",
        {"api_key": "SG.x"},
        "/v3/mail/send",
        {"status": 202, "headers": {"X-Message-Id": "given"}},
        "ann@example.com",
    ),
    Provider(
        "twilio",
        {"account_sid": "AC" + "0" * 32, "auth_token": "s3cret", "sender": "Acme"},
        f"/2010-04-01/Accounts/AC{'0' * 32}/Messages.json",
        {"status": 201, "jsonBody": {"sid": "given"}},
        "+4915100000001",
    ),
    Provider(
        "webhook",
        {"kind": "letter", "secret": "s3cret", "allow_private": True},
        "/",
        {"status": 200, "jsonBody": {"id": "given"}},
        "1 High St, Berlin",
    ),
)

if by_others.is_here("wiremock"):
    pytestmark = pytest.mark.stand_in("wiremock")

    @pytest.fixture(scope="module")
    def wiremock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        with by_others.wiremock(tmp_path_factory.mktemp("wiremock")) as address:
            yield address

    def script(wiremock: str, path: str, *answers: Mapping[str, Any]) -> None:
        """One after the other, however they are asked for."""
        states = ["Started", *(f"after {number}" for number in range(1, len(answers) + 1))]
        for answer, state, then in zip(answers, states, states[1:], strict=False):
            mapping = {
                "scenarioName": path,
                "requiredScenarioState": state,
                "newScenarioState": then,
                "request": {"method": "POST", "urlPath": path},
                "response": answer,
            }
            httpx.post(f"{wiremock}/__admin/mappings", json=mapping).raise_for_status()

    @pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.adapter)
    def test_too_many_then_yes_then_a_reset_is_retry_then_accepted_then_doubt(
        wiremock: str, provider: Provider
    ) -> None:
        too_many = {"status": 429, "headers": {"Retry-After": "7"}}
        reset = {"fault": "CONNECTION_RESET_BY_PEER"}
        garbage = {"fault": "RANDOM_DATA_THEN_CLOSE"}
        script(wiremock, provider.path, too_many, provider.yes, reset, garbage, provider.yes)
        channel = open_channel(
            "shop", ChannelConfig(adapter=provider.adapter), {**provider.settings, "base_url": wiremock}
        )
        outcomes = [channel.send([message(number, to=provider.address)])[0] for number in range(5)]
        channel.close()
        assert outcomes[:2] == [Retry(timedelta(seconds=7), "429"), Accepted("given")]
        assert [type(outcome) for outcome in outcomes[2:]] == [InDoubt, InDoubt, Accepted]
        asked = httpx.get(f"{wiremock}/__admin/requests").json()["requests"]
        assert [each["request"]["url"] for each in asked].count(provider.path) == 5
