"""Threads for what may block: users' handlers and callbacks, the TLS probe, building connections.

As many daemon threads as there is work at the moment, none when there is none: a handler may sleep, publish and wait
without standing in anybody's way, and a thousand idle connections need no thread. Order, where it matters, is kept by
`Serial`: calls posted to one `Serial` run one after the other.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

Call: TypeAlias = Callable[[], None]

_log = logging.getLogger("iot_customauth_client.workers")


class Workers:
    """An elastic pool. A thread that had nothing to do for `idle_seconds` ends; past `max_threads`, calls wait."""

    def __init__(self, *, idle_seconds: float = 5.0, max_threads: int = 1_000) -> None:
        self._max_threads = max_threads
        self._alive = 0
        self._idle_seconds = idle_seconds
        self._ready = threading.Condition()
        self._calls: deque[Call] = deque()
        self._idle = 0
        self._started = 0

    def submit(self, call: Call) -> None:
        """Run `call` on a worker thread soon. Never blocks; what `call` raises is logged."""
        with self._ready:
            self._calls.append(call)
            if self._idle >= len(self._calls):
                self._ready.notify()
                return
            if self._alive >= self._max_threads:
                return  # the next thread that has time takes it
            self._alive += 1
            self._started += 1
            name = f"iot-customauth-worker-{self._started}"
        try:
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError:
            with self._ready:
                self._alive -= 1
                if self._alive:
                    return  # the system gives no more threads: those that there are will come to it
                self._calls.remove(call)
            raise

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._calls:
                    self._idle += 1
                    woken = self._ready.wait(self._idle_seconds)
                    self._idle -= 1
                    if not woken and not self._calls:
                        self._alive -= 1
                        return
                call = self._calls.popleft()
            run(call)
            del call


class Serial:
    """Runs the calls posted to it on worker threads, one at a time and in order."""

    __slots__ = ("_calls", "_lock", "_running", "_workers")

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._calls: deque[Call] | None = None  # only while there are calls: an empty one takes 760 bytes
        self._running = False

    def post(self, call: Call) -> None:
        """Run `call` after all that was posted before it. Never blocks."""
        with self._lock:
            if self._calls is None:
                self._calls = deque()
            self._calls.append(call)
            if self._running:
                return
            self._running = True
        try:
            self._workers.submit(self._drain)
        except RuntimeError:
            with self._lock:
                self._running = False  # the next post tries again
            raise

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._calls, self._running = None, False
                    return
                call = self._calls.popleft()
            run(call)
            del call


def run(call: Call) -> None:
    """Call, and log what it raises: there is nobody above a worker to raise to."""
    try:
        call()
    except BaseException:  # noqa: BLE001 - the top of a thread; sys.exit() must not stop what comes after
        _log.exception("a call on a worker thread failed")
