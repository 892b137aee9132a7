"""What customers answer: collected, matched with messages, and what it changes."""

from holdfast.responses.answering import Answer, answer, comment
from holdfast.responses.collecting import Collected, Stopped, collect, newly_came_back
from holdfast.responses.confirming import Asked, asked, confirm
from holdfast.responses.matching import apply
from holdfast.responses.preferences import Contact, contact_of, set_consents, set_preferred, unsubscribe
from holdfast.store.failures import CameBack
from holdfast.store.responses import Applied

__all__ = [
    "Answer",
    "Applied",
    "Asked",
    "CameBack",
    "Collected",
    "Contact",
    "Stopped",
    "answer",
    "apply",
    "asked",
    "collect",
    "comment",
    "confirm",
    "contact_of",
    "newly_came_back",
    "set_consents",
    "set_preferred",
    "unsubscribe",
]
