"""What we post against SendGrid's own OpenAPI file, served by Prism. Collected where `make prism` was run."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from channels import open_channel
from channels.sendgrid_payload import body
from holdfast.channel import Accepted, Message
from holdfast.settings import ChannelConfig
from tests.contract.letters import message, messages

PRISM = Path(sys.prefix) / "prism"
DESCRIPTION = PRISM / "sendgrid.com.json"

if DESCRIPTION.exists():

    @pytest.fixture(scope="module")
    def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """The address of a server that refuses whatever the description does not allow."""
        described: dict[str, Any] = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
        described["paths"] = {"/v3/mail/send": described["paths"]["/mail/send"]}
        file = tmp_path_factory.mktemp("prism") / "sendgrid.json"
        file.write_text(json.dumps(described), encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        command: list[str | Path] = [
            PRISM / "node_modules/.bin/prism",
            "mock",
            "--errors",
            "-h",
            "127.0.0.1",
            "-p",
            port,
            file,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert any("listening" in line for line in server.stdout)
            yield f"http://127.0.0.1:{port}"
            server.terminate()

    @pytest.mark.parametrize(
        "batch",
        [
            messages(1),
            messages(20),
            [message(1, to_name="", headers={}), message(2, escaped=("مريم", "x"), plain=("مريم", "x"))],
        ],
        ids=["one", "many", "few"],
    )
    def test_what_we_post_is_as_sendgrid_describes_it(prism: str, batch: list[Message]) -> None:
        channel = open_channel(
            "email", ChannelConfig(adapter="sendgrid"), {"api_key": "SG.x", "base_url": prism}
        )
        assert [type(outcome) for outcome in channel.send(batch)] == [Accepted] * len(batch)
        channel.close()

    def test_what_sendgrid_does_not_describe_is_refused_here_too(prism: str) -> None:
        wrong = json.loads(body(messages(1), ["customer1@example.com"]))
        wrong["personalizations"][0]["to"] = "customer1@example.com"
        answer = httpx.post(f"{prism}/v3/mail/send", json=wrong, headers={"Authorization": "Bearer SG.x"})
        assert answer.status_code in (400, 422)
