"""The files under templates/, each as it was when first asked for: what is rendered is what is judged."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from jinja2 import TemplateNotFound


class TemplateFiles:
    """The files under one folder, by their paths in it. Safe to share between threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, bytes] = {}

    @cached_property
    def names(self) -> frozenset[str]:
        """All there are. One that is added later is another reader's."""
        return frozenset(
            path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()
        )

    def leads_out(self, name: str) -> bool:
        """Whether the file is a link to what is not under the folder: on another machine that is another
        file, and nobody who reads the campaign sees it."""
        return not (self.root / name).resolve().is_relative_to(self.root.resolve())

    def read(self, name: str) -> bytes:
        """What is in the file. Raises TemplateNotFound for a name that is none of these."""
        if name not in self._read:
            if name not in self.names:
                raise TemplateNotFound(name)
            try:
                # Whoever reads it first has read it for all.
                self._read.setdefault(name, (self.root / name).read_bytes())
            except OSError:
                raise TemplateNotFound(name) from None
        return self._read[name]

    def load(self, name: str) -> tuple[str, str, None]:
        """The same for Jinja. Raises UnicodeDecodeError too."""
        return self.read(name).decode(), str(self.root / name), None

    def are_edited(self, names: Iterable[str]) -> bool:
        """Whether one of these that were read is another on the disk by now."""
        try:
            return any((self.root / name).read_bytes() != self.read(name) for name in names)
        except OSError:
            return True
