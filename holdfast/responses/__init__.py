"""What customers answer: collected, matched with messages, and what it changes."""

from holdfast.responses.collecting import Collected, collect
from holdfast.responses.matching import apply
from holdfast.responses.preferences import Contact, contact_of, set_consents, unsubscribe
from holdfast.store.responses import Applied

__all__ = [
    "Applied",
    "Collected",
    "Contact",
    "apply",
    "collect",
    "contact_of",
    "set_consents",
    "unsubscribe",
]
