"""awscrt's event-loop thread keeps its Python state from one callback to the next.

Python knows the thread only while one of our callbacks runs on it. So for each callback, which is for each
acknowledgement and for each message received, the interpreter would make a thread state with a stack of its own and
unmap that memory again: that costs as much as everything else that is done for a message. To enter Python once more
than to leave it is what the C API offers against this (`PyGILState_Ensure`: "may be called as many times as desired by
a thread"): the state then stays, and the thread is to Python what a daemon thread is, also when the interpreter ends.

This must be called on the thread itself, and does nothing for a thread that has been there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

_enter: Callable[[], int] | None = None
with contextlib.suppress(ImportError, AttributeError, ValueError):  # a Python without ctypes, or not CPython
    import ctypes

    # Of its own type, which keeps the lock of the interpreter, and shared with nobody else who uses ctypes.
    _enter = ctypes.PYFUNCTYPE(ctypes.c_int)(("PyGILState_Ensure", ctypes.pythonapi))

_here = threading.local()


def keep_thread_state() -> None:
    """Keep this thread's Python state until the thread ends."""
    if _enter is None or getattr(_here, "kept", False):
        return
    _here.kept = True  # gone with the state, so it is there only while that is
    _enter()
