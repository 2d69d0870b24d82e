"""End in good order on a signal: say DISCONNECT on every connection, then let the signal do what it always did.

systemd, Docker and Kubernetes end a process with SIGTERM. Python's default is to die at once: no DISCONNECT is sent,
and the service publishes the will. A handler that closes the connections itself is worse: it runs between two
instructions of the main thread, which may hold the very lock that closing needs.

::

    signal --> handler (main thread): previous handler back in place, wake the closer; the main thread goes on
                                          |
               closer (thread waiting since the start): close_all(timeout) --> the signal once more, to the main thread
                                                                                  |
                            previous handler: the default ends the process, with the exit status of a signal

The handler must do nothing that could wait for a lock: it puts a number into a `SimpleQueue`, which is made for that.
A second signal while closing takes effect at once.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Final, Self

from .errors import ConfigurationError
from .opening import check_timeout
from .runtime import close_all

_GRACE_SECONDS: Final = 1.0

_log = logging.getLogger("iot_customauth_client.signals")


def close_on_signal(*signals: int, timeout: float = 5.0) -> ClosingOnSignal:
    """Close all connections of this process when a signal comes, then let the signal take effect.

    `signals` are those to watch, SIGTERM if none is named. On the first one every open connection says DISCONNECT, so
    that no will is published; it takes at most `timeout` seconds in all and does not wait for what is unacknowledged
    (a `SqliteOutbox` keeps that). Then the signal is raised again with the handler that was there before: the default
    one ends the process, Python's own for SIGINT raises KeyboardInterrupt. A second signal meanwhile takes effect at
    once. A signal that is ignored (as SIGHUP is under `nohup`) stays ignored. It works while the main thread waits in
    `time.sleep()`, in `next(subscription)` or in `result()`; iterators end, as on any `close()`. A signal right after
    the process was frozen (SIGSTOP and SIGCONT, `docker pause`) may be handed to another thread; Python then calls its
    handler only when the main thread goes on.

    Returns a context manager; `undo()`, or leaving its `with`, puts the previous handlers back.

    Raises `ConfigurationError` outside the main thread (only that may set signal handlers), for what is no signal, and
    where code other than Python's has set the handler.
    """
    check_timeout(timeout)
    return ClosingOnSignal(signals or (signal.SIGTERM,), timeout)


class ClosingOnSignal:
    """Signal handlers that close all connections, until `undo()`. Made by `close_on_signal()`; a context manager."""

    def __init__(self, signals: tuple[int, ...], timeout: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ConfigurationError(
                "close_on_signal() was called outside the main thread: only that can set signal handlers",
                what_to_do="call it once at the start of the program, before threads are started",
            )
        self._timeout = timeout
        self._came: SimpleQueue[int | None] = SimpleQueue()
        self._closing = self._undone = False
        self._took_effect = threading.Event()
        self._previous: dict[int, Any] = {}
        self._process = os.getpid()
        for number in signals:
            self._previous[number] = _handler_of(number)
        for number, previous in self._previous.items():
            if previous is not signal.SIG_IGN:
                self._set(number)
        self._closer = threading.Thread(target=self._run, name="iot-customauth-signals", daemon=True)
        self._closer.start()
        atexit.register(self._wait)

    def undo(self) -> None:
        """Put the previous handlers back; without effect a second time.

        If a signal has come, it first waits until that has taken effect: the end of an iterator, which is the first
        that the main thread notices of it, must not turn into an ordinary end of the program.
        """
        if not self._undone:
            self._undone = True
            self._put_back()
            self._came.put(None)
            self._wait()
            atexit.unregister(self._wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()

    # -- main thread, between any two instructions --------------------------------------------------------------------

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, self._previous[number])
        if self._closing or os.getpid() != self._process:
            # The user insists; or this is a forked child, which has no business with its parent's connections.
            signal.raise_signal(number)
            return
        self._closing = True
        self._came.put(number)

    def _set(self, number: int) -> None:
        try:
            signal.signal(number, self._handle)
        except (OSError, ValueError) as error:
            self._put_back()
            raise ConfigurationError(f"a handler for {_name(number)} cannot be set: {error}") from None

    def _put_back(self) -> None:
        for number, previous in self._previous.items():
            # `==`: each access to a method makes a new object.
            if signal.getsignal(number) == self._handle:
                signal.signal(number, previous)

    def _wait(self) -> None:
        """Wait for the closer, if the main thread came here first: the exit status is to be the signal's."""
        if self._closing and os.getpid() == self._process:
            self._took_effect.wait(self._timeout + 2 * _GRACE_SECONDS)

    # -- the closer's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (number := self._came.get()) is not None:
            _log.info("%s: closing all connections", _name(number))
            # In a thread of its own: should something hold a lock that closing needs, the signal still takes effect.
            closing = threading.Thread(target=self._close, args=(_name(number),), daemon=True)
            closing.start()
            closing.join(self._timeout + _GRACE_SECONDS)
            _raise_in_main_thread(number)
            self._took_effect.set()

    def _close(self, name: str) -> None:
        try:
            close_all(self._timeout)
        except Exception:  # noqa: BLE001 - the signal must take effect whatever went wrong; logged in full
            _log.exception("closing on %s failed", name)


def _handler_of(number: int) -> Any:
    try:
        previous = signal.getsignal(number)
    except ValueError:
        raise ConfigurationError(f"{number!r} is no signal: pass signal.SIGTERM or another one of `signal`") from None
    except TypeError:
        raise ConfigurationError(
            f"signals are numbers such as signal.SIGTERM, not {type(number).__name__}: timeout= is given by name"
        ) from None
    if previous is None:
        raise ConfigurationError(
            f"the handler of {_name(number)} was not set by Python, and could not be put back",
            what_to_do="call connection.close() where that handler ends the program",
        )
    return previous


def _raise_in_main_thread(number: int) -> None:
    """Raise a signal so that it interrupts what the main thread waits for."""
    pthread_kill = getattr(signal, "pthread_kill", None)  # not on Windows
    main = threading.main_thread().ident
    if pthread_kill is not None and main is not None:
        pthread_kill(main, number)
    else:
        signal.raise_signal(number)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
