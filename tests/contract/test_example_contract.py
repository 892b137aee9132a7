from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import channels
from tests.contract.channel_contract import SECRET, ChannelContract


class TestExampleOfTheDocs(ChannelContract):
    adapter = "print_shop"

    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """An installed distribution, as far as Python's metadata goes: a folder on the path."""
        info = tmp_path / "site" / "print_shop-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: print-shop\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[holdfast.channels]\nprint_shop = tests.contract.example_channel:PrintShopChannel\n"
        )
        monkeypatch.syspath_prepend(str(info.parent))
        channels._registered.cache_clear()
        yield
        channels._registered.cache_clear()

    @pytest.fixture
    def options(self, tmp_path: Path) -> dict[str, Any]:
        self.file = tmp_path / "letters.jsonl"
        return {"file": self.file, "account": SECRET}

    def delivered(self) -> int:
        return len(self.file.read_text().splitlines())
