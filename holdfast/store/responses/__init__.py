"""Responses: answers matched with their messages, kept, and what follows from them."""

from holdfast.store.responses.applying import Applied, apply
from holdfast.store.responses.given import Given

__all__ = ["Applied", "Given", "apply"]
