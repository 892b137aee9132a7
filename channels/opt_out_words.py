"""Words that people send to be left alone, or to hear from us again."""

from __future__ import annotations

from holdfast.channel import ResponseKind

# What Twilio takes by default, and North America's networks ask for (CTIA, Messaging Principles). Its YES is
# left out: it is an answer to anything.
_STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"})
_START = frozenset({"START", "UNSTOP"})


def meant_by(text: str) -> ResponseKind:
    """What a person asks for with a message that is one of these words alone; REPLIED for any other."""
    word = text.strip(" \t\r\n\u00a0.!\"'").upper()
    if word in _STOP:
        return ResponseKind.UNSUBSCRIBED
    return ResponseKind.RESUBSCRIBED if word in _START else ResponseKind.REPLIED
