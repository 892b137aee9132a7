"""Ctrl-C that is not lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_pressed = threading.Event()


@contextmanager
def keyboard() -> Iterator[None]:
    """While inside, Ctrl-C raises KeyboardInterrupt at once, and is remembered for `check_keyboard`.

    With Python's own handler asyncio puts one of its own there while a loop runs, and an interrupt that
    comes just as the loop's work ends is forgotten (Prefect runs such loops on the main thread).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _pressed.clear()
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def keyboard_held() -> Iterator[None]:
    """While inside, Ctrl-C waits. Threads that start here, and processes that they start, never get it.

    (A terminal sends it to every process that was started from it.)
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_keyboard() -> None:
    """Raises KeyboardInterrupt where one was swallowed on its way: in a destructor, say."""
    if _pressed.is_set():
        _pressed.clear()
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    raise KeyboardInterrupt
