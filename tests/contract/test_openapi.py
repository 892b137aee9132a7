"""What we post against the providers' own OpenAPI files, served by Prism; where `make prism` was run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from channels import open_channel
from holdfast.channel import Accepted, Channel, Message, Outcome, Publisher
from holdfast.settings import ChannelConfig
from tests.contract.letters import message, messages
from tests.servers import by_others

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
ACCOUNT, BOT = "AC" + "0" * 32, "4711:AAE-a_token_of_thirty-five_letters"
X_TOKEN = {"user_token": "s3cret"}  # Prism knows no OAuth 1.0a


@dataclass(frozen=True)
class Described:
    """A path of an official file, and the adapter that posts there.

    `before` is what the file leaves out of the path, `newer` are fields that came after it was made, `wrong`
    is a body that it does not allow, `answer` one where Prism cannot make up any.
    """

    provider: str
    file: str
    path: str
    settings: Mapping[str, Any]
    wrong: Mapping[str, Any]
    authorization: str
    address: str = "customer{}@example.com"
    before: str = ""
    newer: Mapping[str, Any] = field(default_factory=dict)
    form: str = JSON
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"prism {self.provider}"

    @property
    def description(self) -> dict[str, Any]:
        """The file with this path alone; what it does not name in a body is refused."""
        whole: dict[str, Any] = json.loads((by_others.FOLDER / self.file).read_text(encoding="utf-8"))
        described = whole["paths"][self.path]
        whole["paths"] = {self.before + self.path: described}
        body = described["post"]["requestBody"]["content"][self.form]["schema"]
        while "$ref" in body:
            body = whole["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        if "properties" in body:  # else it has forms to choose from, each with its own
            body["properties"] |= self.newer
            body["additionalProperties"] = False
        for status, response in described["post"]["responses"].items():
            if status in ("200", "201") and self.answer:
                response["content"][JSON]["example"] = self.answer
        return whole


DESCRIBED = (
    Described(
        "sendgrid",
        "sendgrid.com.json",
        "/mail/send",
        {"api_key": "SG.x"},
        {"personalizations": [{"to": "ann@example.com"}], "from": {"email": "hello@acme.example"}},
        "Bearer SG.x",
        before="/v3",
    ),
    Described(
        "telegram",
        "telegram.org.json",
        "/sendMessage",
        {"token": BOT},
        {"text": "Hello"},
        "",
        "4711{}",
        before=f"/bot{BOT}",
        newer={"link_preview_options": {"type": "object"}},  # of Bot API 7.0; the file is of 5.0
        answer={
            "ok": True,
            "result": {"message_id": 1, "date": 1_780_488_000, "chat": {"id": 4711, "type": "private"}},
        },
    ),
    Described(
        "twilio",
        "twilio.com/api.json",
        "/2010-04-01/Accounts/{AccountSid}/Messages.json",
        {
            "account_sid": ACCOUNT,
            "auth_token": "s3cret",
            "sender": "+4915112345678",
            "webhook_url": "https://r.acme.example/webhooks/sms",
        },
        {"Body": "Hello"},
        "Basic QUM6eA==",
        "+49151000000{}",
        form=FORM,
        answer={"sid": "SM" + "0" * 32, "account_sid": ACCOUNT, "status": "queued"},
    ),
    Described(
        "x",
        "twitter.com/current.json",
        "/2/dm_conversations/with/{participant_id}/messages",
        {"kind": "message", **X_TOKEN},
        {"text": 17},
        "Bearer x",
        "4711{}",
    ),
    Described("x", "twitter.com/current.json", "/2/tweets", X_TOKEN, {"text": 17}, "Bearer x"),
)
HERE = [each for each in DESCRIBED if by_others.is_here(each.name)]


def sent(channel: Channel, batch: Sequence[Message]) -> list[Outcome]:
    if isinstance(channel, Publisher) and channel.capabilities.posts:
        return [channel.publish(each.text, each.key) for each in batch]
    return [outcome for some in channel.batches(batch) for outcome in channel.send(some)]


if HERE:
    pytestmark = pytest.mark.parametrize(
        "described",
        [
            pytest.param(each, id=f"{each.provider} {each.path}", marks=pytest.mark.stand_in(each.name))
            for each in HERE
        ],
        indirect=True,
        scope="module",
    )

    @pytest.fixture(scope="module")
    def described(request: pytest.FixtureRequest) -> Described:
        each: Described = request.param
        return each

    @pytest.fixture(scope="module")
    def prism(described: Described, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        with by_others.prism(described.description, tmp_path_factory.mktemp("prism")) as address:
            yield address

    @pytest.mark.parametrize(
        "batch",
        [
            messages(1),
            messages(20),
            [message(1, to_name="", headers={}), message(2, escaped=("مريم", "x"), plain=("مريم", "x"))],
            [message(1, plain=("字😀\n\u202e'\"", "</b>&\x07"))],
        ],
        ids=["one", "many", "few", "strange"],
    )
    def test_what_we_post_is_as_the_provider_describes_it(
        prism: str, described: Described, batch: Sequence[Message]
    ) -> None:
        config = ChannelConfig(adapter=described.provider)
        channel = open_channel("shop", config, {**described.settings, "base_url": prism})
        to = [replace(each, to=described.address.format(place)) for place, each in enumerate(batch)]
        outcomes = sent(channel, to)
        channel.close()
        assert [type(outcome) for outcome in outcomes] == [Accepted] * len(batch)

    def test_what_the_provider_does_not_describe_is_refused_here_too(
        prism: str, described: Described
    ) -> None:
        path = described.path.format(AccountSid=ACCOUNT, participant_id="4711")
        body = {"json" if described.form == JSON else "data": described.wrong}
        headers = {"Authorization": described.authorization} if described.authorization else {}
        answer = httpx.post(prism + described.before + path, headers=headers, **body)
        assert answer.status_code in (400, 422)
