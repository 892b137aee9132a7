from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import channels
from channels import open_channel
from holdfast.settings import ChannelConfig
from tests.contract.channel_contract import ChannelContract
from tests.fakes.scripted_channel import ScriptedChannel


class TestScripted(ChannelContract):
    """The stand-in of the other tests keeps what every channel keeps."""

    adapter = "scripted"

    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """An installed distribution, as far as Python's metadata goes: a folder on the path."""
        info = tmp_path / "site" / "scripted-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[holdfast.channels]\nscripted = tests.fakes.scripted_channel:ScriptedChannel\n"
        )
        monkeypatch.syspath_prepend(str(info.parent))
        channels._registered.cache_clear()
        yield
        channels._registered.cache_clear()

    @pytest.fixture(params=[False, True], ids=["forgets", "remembers"])
    def options(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return {"batch_size": 20, "concurrency": 4, "lookup": request.param, "idempotent": request.param}

    @pytest.fixture
    def channel(self, config: ChannelConfig, options: dict[str, Any]) -> Iterator[ScriptedChannel]:
        opened = open_channel("shop", config, options)
        assert isinstance(opened, ScriptedChannel)
        self.opened = opened
        yield opened
        opened.close()

    def delivered(self) -> int:
        return len(self.opened.taken)
