"""Running authorizer functions so that none of them can hurt the endpoint.

Each call has a daemon thread of its own and 5 seconds (*custom auth*), counted from the moment it was asked for. Then
it is *abandoned*: its connection is refused, a late result is ignored, and the thread is asked to end. A function that
is a URL or a command (`outside_call.py`) is run in the same way, and can be made to end for certain.

::

    call() ──> waiting ──> running ──> done            at most `max_running` run at once, per authorizer
                  │           │
                  └── 5 s ────┴──> timed out           one that ran on is abandoned; with `max_abandoned` of them
                                                       alive, further calls of that authorizer are refused at once

The caps are per authorizer: a stuck function can only starve its own users. Whom a call is for is its *source*, the
address of a peer: of those that wait, each address has its turn, one address may have three quarters of the calls that
run and half of those that were abandoned, and an eighth of those that run is kept free for connected clients, which
come first. So neither many strangers nor one that makes the function hang keep others out.

All state belongs to the event loop's thread; a worker thread touches nothing but its own call and reports by
`call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ctypes
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, TypeAlias

from .. import limits
from ..authorizer.event import AuthorizerEvent
from .authorizer_files import FunctionSource, FunctionUnavailable
from .fair_queue import FairQueue
from .lambda_context import LambdaContext
from .outside_call import MAX_ANSWER_BYTES, FunctionFailed, InvalidAnswer, OutsideCall
from .words import counted

log = logging.getLogger(__name__)

Outcome: TypeAlias = Literal["answered", "failed", "timed_out", "invalid"]

MAX_RUNNING = 128
"""Calls of one authorizer that run at once (96 of them for one address); more wait, within their own 5 s."""
MAX_ABANDONED = 256
"""Calls of one authorizer that were given up and still run; with so many, new ones are refused; for one address, with
half of them."""
_MAX_REASON_CHARACTERS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended: `result` is plain JSON data if the outcome is `answered`, else `explanation` says why not."""

    outcome: Outcome
    elapsed_seconds: float
    result: object = None
    explanation: str = ""


class AuthorizerCall:
    """One call. `cancel` when nobody waits for the answer any more."""

    def __init__(
        self, event: AuthorizerEvent, context: LambdaContext, done: Callable[[Answer], None], source: str | None
    ) -> None:
        self.event: Final = event
        self.source: Final = source
        self.context = context
        self.started = time.monotonic()
        self.timer: asyncio.TimerHandle | None = None
        self.done: Callable[[Answer], None] | None = done
        self.thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._function: Callable[..., object] | None = None
        self.told_to_end = False

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the call was asked for."""
        return time.monotonic() - self.started

    def cancel(self) -> None:
        """Want no answer any more; the time limit still applies to the function."""
        self.done = None

    def run(self, function: Callable[..., object]) -> object:
        """Call the function; in the worker thread."""
        with self._lock:
            self._function = function
        try:
            # A copy of its own, of JSON data only: what the function does to it concerns nobody else.
            return function(json.loads(json.dumps(self.event)), self.context)
        finally:
            with self._lock:
                self._function = None

    def ask_to_end(self) -> None:
        """Abort a call that goes outside; raise SystemExit in a Python function, if it runs.

        SystemExit ends a loop, and a blocking call once that returns. The lock keeps it from hitting a thread that has
        left the function, which may be another one by now.
        """
        with self._lock:
            if self._function is None:
                return
            self.told_to_end = True
            if isinstance(self._function, OutsideCall):
                self._function.abort()
            elif self.thread is not None and self.thread.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self.thread.ident), ctypes.py_object(SystemExit)
                )


class AuthorizerCalls:
    """The calls of one authorizer. Use it on the event loop's thread only."""

    def __init__(
        self,
        source: FunctionSource,
        loop: asyncio.AbstractEventLoop,
        *,
        timeout_seconds: float = limits.AUTHORIZER_TIMEOUT_SECONDS,
        max_running: int = MAX_RUNNING,
        max_abandoned: int = MAX_ABANDONED,
        scrub: Callable[[str, AuthorizerEvent], str],
    ) -> None:
        """`scrub(text, event)` takes the secrets of an event out of what is about to be printed."""
        self._source = source
        self._loop = loop
        self._timeout_seconds = timeout_seconds
        self._max_running = max_running
        self._max_abandoned = max_abandoned
        self._scrub = scrub
        self._max_for_strangers = max_running - max_running // 8
        self._max_for_one = max_running - max_running // 4
        self._max_abandoned_for_one = max_abandoned - max_abandoned // 2
        self._waiting: FairQueue[AuthorizerCall] = FairQueue()
        self._running_of: collections.Counter[str] = collections.Counter()
        self._abandoned_of: collections.Counter[str] = collections.Counter()
        self._running: dict[int, AuthorizerCall] = {}
        self._abandoned: dict[int, AuthorizerCall] = {}
        self._loader: threading.Thread | None = None

    @property
    def abandoned(self) -> int:
        """Calls that were given up and whose threads still run."""
        return len(self._abandoned)

    def warm_up(self) -> None:
        """Load a function's file in the background, so that its mistakes show before the first device comes."""
        self._loader = threading.Thread(target=self._warm_up, name="authorizer-load", daemon=True)
        self._loader.start()

    def call(
        self,
        event: AuthorizerEvent,
        context: LambdaContext,
        done: Callable[[Answer], None],
        *,
        source: str | None = "",
    ) -> AuthorizerCall:
        """Ask the function; `done` is called once, from the event loop, within the time limit.

        source: the address of the peer that it is asked for; None for a connected client.
        """
        call = AuthorizerCall(event, context, done, source)
        if len(self._abandoned) >= self._max_abandoned or (
            source is not None and self._abandoned_of[source] >= self._max_abandoned_for_one
        ):
            self._loop.call_soon(
                self._finish,
                call,
                Answer(
                    "failed",
                    0.0,
                    explanation=f"{counted(len(self._abandoned), 'earlier call')} of this function never returned;"
                    " it is not called again before some of them end",
                ),
            )
            return call
        call.timer = self._loop.call_later(self._timeout_seconds, self._time_out, call)
        self._waiting.put(source, id(call), call)
        self._start_waiting()
        return call

    def close(self) -> list[threading.Thread]:
        """Give up whatever runs; returns the threads that have not ended yet."""
        calls = [*self._waiting.clear(), *self._running.values(), *self._abandoned.values()]
        for call in calls:
            call.cancel()
            if call.timer is not None:
                call.timer.cancel()
            call.ask_to_end()
        self._source.close()
        threads = [self._loader, *(call.thread for call in calls)]
        return [thread for thread in threads if thread is not None and thread.is_alive()]

    # -- on the loop's thread ----------------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        while (call := self._next()) is not None:
            call.thread = threading.Thread(
                target=self._work, args=(call,), name=f"authorizer-{call.context.function_name}", daemon=True
            )
            self._running[id(call)] = call
            _count(self._running_of, call, 1)
            try:
                call.thread.start()
            except RuntimeError as error:  # the system gives no more threads
                call.thread = None
                del self._running[id(call)]
                _count(self._running_of, call, -1)
                if call.timer is not None:
                    call.timer.cancel()
                # In another turn: `done` may ask again, and thousands may wait for a thread that there is not.
                failed = Answer("failed", call.elapsed_seconds, explanation=f"no thread for it: {error}")
                self._loop.call_soon(self._finish, call, failed)

    def _next(self) -> AuthorizerCall | None:
        """Take the call that may begin now; None if none may."""
        if not self._waiting or len(self._running) >= self._max_running:
            return None
        full = {source for source, running in self._running_of.items() if running >= self._max_for_one}
        if self._running_of.total() >= self._max_for_strangers:
            full.update(self._waiting.sources)
        return self._waiting.take(frozenset(full))

    def _time_out(self, call: AuthorizerCall) -> None:
        limit = f"{self._timeout_seconds:g} s"
        if self._waiting.remove(call.source, id(call)):
            why = (
                f"no answer within {limit}: it waited behind {counted(len(self._running), 'other call')}"
                " of the same function"
            )
        else:
            del self._running[id(call)]
            _count(self._running_of, call, -1)
            self._abandoned[id(call)] = call
            _count(self._abandoned_of, call, 1)
            call.ask_to_end()
            why = f"the function did not return within {limit}; the service waits no longer either"
        self._finish(call, Answer("timed_out", call.elapsed_seconds, explanation=why))
        self._start_waiting()

    def _ended(self, call: AuthorizerCall, answer: Answer) -> None:
        if self._abandoned.pop(id(call), None) is not None:
            _count(self._abandoned_of, call, -1)
            log.warning(
                "authorizer function %s ended after %.1f s; its result came too late and is ignored",
                call.context.function_name,
                call.elapsed_seconds,
            )
            return
        if self._running.pop(id(call), None) is not None:
            _count(self._running_of, call, -1)
        self._finish(call, answer)
        self._start_waiting()

    def _finish(self, call: AuthorizerCall, answer: Answer) -> None:
        if call.timer is not None:
            call.timer.cancel()
        done, call.done = call.done, None
        if done is not None:
            done(answer)

    # -- on a worker's thread ----------------------------------------------------------------------------------------

    def _work(self, call: AuthorizerCall) -> None:
        try:
            answer = self._answer(call)
        except BaseException:  # noqa: BLE001  # the request to end may arrive a moment after the function returned
            answer = Answer("failed", call.elapsed_seconds, explanation="the function was ended")
        with contextlib.suppress(RuntimeError):  # the endpoint stopped meanwhile: nobody waits
            self._loop.call_soon_threadsafe(self._ended, call, answer)

    def _answer(self, call: AuthorizerCall) -> Answer:
        def failed(outcome: Outcome, explanation: str) -> Answer:
            return Answer(outcome, call.elapsed_seconds, explanation=explanation)

        try:
            function = self._source.get(timeout=self._timeout_seconds - call.elapsed_seconds)
        except FunctionUnavailable as error:
            self._print(error.details, call)
            return failed("failed", str(error))
        try:
            result = call.run(function)
        except FunctionFailed as error:
            outcome: Outcome = "invalid" if isinstance(error, InvalidAnswer) else "failed"
            return failed(outcome, self._scrub(str(error), call.event))
        except BaseException as error:  # noqa: BLE001  # also SystemExit: Lambda calls it an error too
            if not call.told_to_end:  # else the error is ours, and nobody waits for the answer
                error.__traceback__ = _without_ours(error.__traceback__)
                self._print("".join(traceback.format_exception(error)), call)
            return failed("failed", f"the function raised {self._reason(error, call)}")
        if isinstance(result, Coroutine):
            result.close()  # one that is never awaited would complain later
            return failed("invalid", "the function is an `async def`: Lambda calls plain functions only")
        try:
            text = json.dumps(result, allow_nan=False)
            if len(text) > MAX_ANSWER_BYTES:
                return failed("invalid", f"what the function returned has more than {MAX_ANSWER_BYTES:,} bytes as JSON")
            return Answer("answered", call.elapsed_seconds, json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            return failed("invalid", f"what the function returned is not JSON: {self._scrub(str(error), call.event)}")
        except Exception as error:  # noqa: BLE001  # an object of the function's own, which is asked for its items
            return failed(
                "invalid", f"what the function returned cannot be read: it raised {self._reason(error, call)}"
            )

    def _reason(self, error: BaseException, call: AuthorizerCall) -> str:
        """Say in a few words what was raised: the whole of a long one is in the traceback."""
        reason = self._scrub(traceback.format_exception_only(error)[-1].strip(), call.event)
        return reason if len(reason) <= _MAX_REASON_CHARACTERS else f"{reason[:_MAX_REASON_CHARACTERS]}..."

    def _print(self, details: str, call: AuthorizerCall) -> None:
        if details:
            with contextlib.suppress(OSError, ValueError):  # stderr is closed
                print(self._scrub(details, call.event), file=sys.stderr, end="", flush=True)  # noqa: T201

    def _warm_up(self) -> None:
        try:
            self._source.get(timeout=self._timeout_seconds)
        except FunctionUnavailable as error:
            log.error("%s\n%s", error, error.details)


def _without_ours(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this file: a traceback begins where the user's function does, as in Lambda."""
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename == __file__:
        first = first.tb_next
    return first or frames


def _count(counter: collections.Counter[str], call: AuthorizerCall, change: int) -> None:
    """Count a call for its source, and remember no source that has none."""
    if call.source is not None:
        counter[call.source] += change
        if not counter[call.source]:
            del counter[call.source]
