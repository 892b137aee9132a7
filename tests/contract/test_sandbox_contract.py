from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from channels.standard_webhooks import sign
from tests.contract.channel_contract import NOW, ChannelContract, SignedContract


class TestSandbox(SignedContract, ChannelContract):
    key_setting = "webhook_key"
    keys = ("the new key", "whsec_bmV3IGFuZCBvbGQ=", "a stranger's")
    adapter = "sandbox"

    @pytest.fixture(params=["email", "telegram"])
    def options(self, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
        self.folder = tmp_path / "sandbox"
        return {"kind": request.param, "folder": self.folder, "batch_size": 20}

    def signed(self, number: int) -> dict[str, str]:
        return sign(SecretStr(self.keys[number]), "evt", self.body, int(NOW.timestamp()))

    def delivered(self) -> int:
        return len(list(self.folder.iterdir()))
