"""What customers answer: collected, matched with messages, and what it changes."""

from holdfast.responses.answering import Answer, answer, comment
from holdfast.responses.collecting import Collected, Stopped, collect, newly_came_back
from holdfast.responses.confirming import Asked, asked, confirm
from holdfast.responses.matching import apply
from holdfast.responses.preferences import (
    PAUSE,
    Choices,
    Contact,
    ask_to_be_erased,
    contact_of,
    keep_after_all,
    save,
    unsubscribe,
)
from holdfast.responses.recovering import Started, recover
from holdfast.store.failures import CameBack
from holdfast.store.responses import Applied

__all__ = [
    "PAUSE",
    "Answer",
    "Applied",
    "Asked",
    "CameBack",
    "Choices",
    "Collected",
    "Contact",
    "Started",
    "Stopped",
    "answer",
    "apply",
    "ask_to_be_erased",
    "asked",
    "collect",
    "comment",
    "confirm",
    "contact_of",
    "keep_after_all",
    "newly_came_back",
    "recover",
    "save",
    "unsubscribe",
]
