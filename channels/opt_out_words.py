"""Words that people send to be left alone, or to hear from us again."""

from __future__ import annotations

from holdfast.channel import ResponseKind
from holdfast.spelling import one_spelling

_AROUND = " .!?,;:\"'«»“”„‚‘’؟،"


def _folded(text: str) -> str:
    return one_spelling(text).strip(_AROUND)


# What Twilio takes by default, and North America's networks ask for (CTIA, Messaging Principles), then the
# same in the other languages that pages for customers are in. Twilio's YES is left out: it is an answer to
# anything.
STOP_WORDS = (
    *("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "optout", "revoke"),
    *("stop all", "opt out", "opt-out", "unsubscribe me", "please stop", "stop please"),
    *("stopp", "abmelden", "abbestellen"),
    *("إلغاء الاشتراك", "إلغاء", "إيقاف", "توقف"),
    *("لغو اشتراک", "لغو عضویت", "لغو"),
)
_STOP = frozenset(map(_folded, STOP_WORDS))
_START = frozenset({"start", "unstop"})
_LONGEST = 100


def meant_by(text: str) -> ResponseKind:
    """What a person asks for with a message that is one of these words alone; REPLIED for any other."""
    said = _folded(text) if len(text) <= _LONGEST else ""
    if said in _STOP:
        return ResponseKind.UNSUBSCRIBED
    return ResponseKind.RESUBSCRIBED if said in _START else ResponseKind.REPLIED
