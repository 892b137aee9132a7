"""Python's search for cycles: paused as long as anybody wants it so."""

from __future__ import annotations

import gc
import weakref

import pytest

from holdfast.delivery.collection import paused


def test_the_search_goes_on_when_the_last_of_several_is_done() -> None:
    with paused():
        with paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


class Knot:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_found_though_others_pause_the_search_for_ever() -> None:
    with paused():
        with paused():
            seen = weakref.ref(Knot())
            assert seen() is not None
        assert seen() is None


def test_the_search_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError, match="broken"), paused():
        raise ValueError("broken")
    assert gc.isenabled()
