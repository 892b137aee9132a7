"""Events as providers document them, each with what it becomes."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.channel import ResponseKind

# Beside kinds of responses: what is told to an operator, and what changes nothing and is counted.
OPERATOR, LEFT_OUT = "operator", "left out"


@dataclass(frozen=True)
class Event:
    """One event. `name` is the word that the provider's documentation has for it, and ours too."""

    name: str
    body: bytes
    becomes: ResponseKind | str | tuple[ResponseKind, ...]

    def __str__(self) -> str:
        return self.name
