"""Everything Holdfast can say went wrong, as one tree.

    HoldfastError
    ├── ProblemsFound          project, campaign or template files that cannot be used; carries every Problem
    ├── SettingsError          a setting or secret is missing or unusable
    ├── StoreError
    │   ├── DatabaseUnreachable
    │   └── SchemaOutdated
    ├── RenderError            one customer's message cannot be rendered
    ├── ChannelError
    │   ├── ChannelUnavailable nothing was taken; the channel needs an operator (bad credentials, wrong host)
    │   ├── ChannelResting     nothing is taken before a moment that the error names
    │   ├── BatchRefused       nothing was taken because of something in the batch; smaller ones may pass
    │   └── AnswerRefused      a request that claims to be a provider's answer, and is not to be believed
    ├── CaseError              a case is not in a state that allows what was asked
    │   └── CaseUnknown        there is no such case, or customer
    ├── RunError               a run is not in a state that allows what was asked
    │   └── RunStopped         a guard stopped it
    └── OrchestrationError     the Prefect server, a work pool or a deployment is missing or does not answer

Messages of this tree are written for people and are safe to show and log: they never carry an address, a
name of a customer or a secret. Texts of foreign exceptions may, so they are never copied into one of these.
"""

from __future__ import annotations

import copyreg
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


class HoldfastError(Exception):
    """A failure that a person can understand and act on.

    `str(error)` is one line of what went wrong; `hint` says what to do about it, and may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors come from other processes too, and not every constructor takes what `args` holds.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in one file, with the place. Lines and columns count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    what: str
    expected: str = ""
    suggestion: str = ""
    source_line: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.what}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.suggestion:
            text += f"; did you mean {self.suggestion!r}?"
        if self.source_line:
            text += f"\n    {self.source_line.rstrip()}\n    {' ' * (self.column - 1)}^"
        return text


class ProblemsFound(HoldfastError):
    """Files that cannot be used, with every problem at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingsError(HoldfastError):
    """A setting or a secret is missing or unusable. Names the setting, never its value."""


class StoreError(HoldfastError):
    """The database could not do what was asked."""


class DatabaseUnreachable(StoreError):
    """No connection to the database."""


class SchemaOutdated(StoreError):
    """The database's schema is not the one this version of Holdfast works with."""


class RenderError(HoldfastError):
    """One customer's message cannot be rendered. Names the template and the reason, never the customer."""


class ChannelError(HoldfastError):
    """A channel could not be used."""


class ChannelUnavailable(ChannelError):
    """Nothing of the batch was taken, and trying again by itself will not help: an operator has to act."""


class ChannelResting(ChannelError):
    """The channel takes nothing for a while: its day is full, or its provider asked for a pause.

    `until` is an aware time by the database's clock, `after` how long that is from now by any clock.
    """

    def __init__(self, message: str, *, until: datetime, after: timedelta) -> None:
        super().__init__(message)
        self.until, self.after = until, after


class BatchRefused(ChannelError):
    """The provider took nothing of the batch because of something in it. Smaller batches may pass."""


class AnswerRefused(ChannelError):
    """A request that claims to come from a provider has no valid signature, or one that is too old."""


class CaseError(HoldfastError):
    """A case is not in a state that allows what was asked."""


class CaseUnknown(CaseError):
    """There is no such case, or no such customer."""


class RunError(HoldfastError):
    """A run is not in a state that allows what was asked."""


class RunStopped(RunError):
    """A guard stopped the run: too much of it came back, or its calls failed one after the other."""


class OrchestrationError(HoldfastError):
    """The Prefect server, work pool or deployment is missing or does not answer."""
