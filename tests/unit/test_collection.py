"""Python's search for cycles: paused as long as anybody wants it so."""

from __future__ import annotations

import gc

import pytest

from holdfast.delivery.collection import paused


def test_the_search_goes_on_when_the_last_of_several_is_done() -> None:
    with paused():
        with paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_search_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError, match="broken"), paused():
        raise ValueError("broken")
    assert gc.isenabled()
