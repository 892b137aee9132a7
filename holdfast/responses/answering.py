"""Answers to surveys: written into the inbox by the page where customers give them, and read from there."""

from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from holdfast.channel import ResponseKind
from holdfast.store.inbox import Inbox
from holdfast.surveys import LONGEST_COMMENT, SCALES, Survey
from holdfast.tables import to_microseconds


class Answer(NamedTuple):
    """What a customer answered; `text` is their comment, or ''."""

    survey: Survey
    score: int
    text: str


def answer(inbox: Inbox, message_id: int, given: Answer, now: datetime) -> None:
    """Keeps what the customer of the message answered; committed when this returns, applied by `collect`."""
    letter = {
        "kind": ResponseKind.ANSWERED.value,
        "message": message_id,
        "at": to_microseconds(now),
        "survey": given.survey,
        "score": given.score,
        "text": given.text,
        "event": secrets.token_hex(16),
    }
    inbox.put(None, json.dumps(letter).encode(), now)


def answer_in(letter: Mapping[str, Any]) -> Answer:
    """What a letter of ours says. Raises ValueError, TypeError or KeyError where it is not of that form."""
    survey, score, text = letter["survey"], letter["score"], letter["text"]
    if (
        survey not in SCALES
        or type(score) is not int
        or score not in SCALES[survey]
        or not isinstance(text, str)
    ):
        raise ValueError("not an answer that the survey takes")
    return Answer(survey, score, comment(text))


def comment(text: str) -> str:
    """What somebody wrote: with plain ends of lines, nothing that steers a terminal, and not without end."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    plain = "".join(sign for sign in lines if sign == "\n" or unicodedata.category(sign) != "Cc")
    return plain.strip()[:LONGEST_COMMENT].rstrip()
