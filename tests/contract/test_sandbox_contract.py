from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.channel_contract import ChannelContract


class TestSandbox(ChannelContract):
    adapter = "sandbox"

    @pytest.fixture(params=["email", "telegram"])
    def options(self, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
        self.folder = tmp_path / "sandbox"
        return {"kind": request.param, "folder": self.folder, "batch_size": 20}

    def delivered(self) -> int:
        return len(list(self.folder.iterdir()))
