"""What customers answer: collected, matched with messages, and what it changes."""

from holdfast.responses.answering import Answer, answer, comment
from holdfast.responses.collecting import Collected, Stopped, collect, newly_came_back
from holdfast.responses.confirming import Asked, asked, confirm
from holdfast.responses.erasing import (
    Erased,
    erase_customer,
    erase_waiting,
    export_customer,
    keep_customer,
    require_customer,
    waiting_to_be_erased,
)
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
    "Erased",
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
    "erase_customer",
    "erase_waiting",
    "export_customer",
    "keep_after_all",
    "keep_customer",
    "newly_came_back",
    "recover",
    "require_customer",
    "save",
    "unsubscribe",
    "waiting_to_be_erased",
]
