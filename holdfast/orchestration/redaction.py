"""What may reach Prefect's database: never an address, a token or the text of a foreign exception.

Prefect keeps an exception's text in the run's state and ships log records to its server. `redacted` stands
around the body of every flow and task; the filter on the loggers is the second net.
"""

from __future__ import annotations

import logging
import re
import traceback
from contextlib import ContextDecorator
from pathlib import Path

from holdfast.errors import HoldfastError

_PACKAGE = Path(__file__).parents[1]
_OURS = (_PACKAGE, _PACKAGE.parent / "flows", _PACKAGE.parent / "channels")

_MASKS = (
    (re.compile(r"//[^/\s@]+@"), "//***@"),
    (re.compile(r"[\w.+%'-]+@[\w-]+(?:\.[\w-]+)*"), "***@***"),
    (re.compile(r"\d{5,}:[\w-]{20,}"), "***"),  # a bot's token, which stands in the path of its URLs
    (re.compile(r"\bSG\.[\w.-]{10,}"), "***"),
    (re.compile(r"(?i)\b(bearer|basic) +[^\s\"',;]+"), r"\1 ***"),
    (re.compile(r"(?i)\b(token|api[_-]?key|password|secret|signature)([=:]\s*)[^\s\"'&,;]+"), r"\1\2***"),
    # Phone numbers, but not dates.
    (re.compile(r"(?<![\w-])(?!\d{4}-\d\d-\d\d)\+?\d(?:[ ()./-]{0,2}\d){8,}(?![\w-])"), "***"),
)
_SHORTEST_SECRET = 6  # masking a shorter one would eat ordinary words
_secrets: set[str] = set()


class UnexpectedError(HoldfastError):
    """What nobody foresaw: an exception's type and place, without its text: that may hold customers' data."""


class redacted(ContextDecorator):  # noqa: N801 - reads as a decorator
    """Lets Holdfast's own errors pass, with their hint; any other becomes its type and place in our code.

    Usable as a decorator too, of tasks that are pickled for other processes. Interrupts and Prefect's signals
    are no Exceptions, and pass.
    """

    def __enter__(self) -> None:
        protect_logs()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, HoldfastError):
            if error.hint:
                # Prefect shows str(error) and nothing else.
                error.args, error.hint = (f"{error} ({error.hint})",), ""
            raise error.with_traceback(None) from None
        if isinstance(error, Exception):
            raise UnexpectedError(_type_and_place(error)) from None


def _type_and_place(error: Exception) -> str:
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.parent != Path(__file__).parent and any(path.is_relative_to(folder) for folder in _OURS):
            place = f" at {path.relative_to(_PACKAGE.parent)}:{line}"
    return f"{type(error).__name__}{place}"


def mask(text: str) -> str:
    """The text without mail addresses, long numbers, credentials and the secrets that are known."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def keep_out_of_logs(secret: str) -> None:
    """From now on this value is masked wherever it is logged."""
    if len(secret) >= _SHORTEST_SECRET:
        _secrets.add(secret)


def protect_logs() -> None:
    """Masks what every handler of this process writes, and silences clients that log URLs with tokens."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        handler.addFilter(_masked)  # a second time changes nothing


def _masked(record: logging.LogRecord) -> bool:
    record.msg, record.args = mask(record.getMessage()), None
    if record.exc_info:
        record.exc_text = mask("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return True
