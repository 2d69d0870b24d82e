"""A link without a network, for the tests of the outbox and of futures: what was submitted, and acknowledged when told.

`FakeLink` answers when the test says so. `FakeNative` behaves as awscrt was measured to: what other threads submit
waits in a queue for the native thread, what the native thread submits goes out at once, and so overtakes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from iot_customauth_client import CustomAuthError, OperationError, OutboxFull, PublishResult
from iot_customauth_client.journal import NotStored, Stored
from iot_customauth_client.links.base import Capabilities, FilterRequest, PublishDone, PublishOutcome
from iot_customauth_client.outbox import Outbox
from iot_customauth_client.outbox_values import OutboxLimits
from iot_customauth_client.outgoing import Outgoing

ACKNOWLEDGED = PublishOutcome(reason_code=0)
GONE = PublishOutcome(error=RuntimeError("the connection went away"), gone=True)


class FakeLink:
    """A link that keeps what is published until `answer` is called. Publishing must never overlap."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.open: deque[tuple[Outgoing, PublishDone]] = deque()
        self.most_open = 0
        self.fails_with: PublishOutcome | None = None
        self.answers_at_once = False
        self._publishing = threading.Lock()

    def publish(self, entry: Outgoing, done: PublishDone) -> PublishOutcome | None:
        assert self._publishing.acquire(blocking=False), "two threads publish at once"
        try:
            if self.fails_with is not None:
                return self.fails_with
            self.accept(entry, done)
            if self.answers_at_once:
                self.answer()
            return None
        finally:
            self._publishing.release()

    def accept(self, entry: Outgoing, done: PublishDone) -> None:
        """Note a submission."""
        self.sent.append(entry)
        self.open.append((entry, done))
        self.most_open = max(self.most_open, len(self.open))

    def answer(self, count: int = 1, outcome: PublishOutcome = ACKNOWLEDGED) -> None:
        """Give the oldest unanswered publishes an outcome."""
        for _ in range(count):
            entry, done = self.open.popleft()
            done(entry, outcome)

    def answer_all(self, outcome: PublishOutcome = ACKNOWLEDGED) -> None:
        """Answer until nothing is open, also what the answers set free."""
        while self.open:
            self.answer(1, outcome)

    @property
    def topics(self) -> list[str]:
        """The topics of what was submitted, in order."""
        return [entry.topic for entry in self.sent]

    # -- what the outbox never asks for -------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            manual_ack=True, reason_codes=True, filters_per_subscribe=8, renews_in_place=False, keeps_in_flight=False
        )

    @property
    def native(self) -> Any:
        return None

    def attempt(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        raise NotImplementedError

    def subscribe(
        self, requests: Sequence[FilterRequest], done: Callable[[Sequence[int] | None, BaseException | None], None]
    ) -> None:
        raise NotImplementedError

    def unsubscribe(self, topic_filter: str, done: Callable[[], None]) -> None:
        raise NotImplementedError


class FakeNative(FakeLink):
    """Adds awscrt's event loop: `step` is one turn of it, and `run` turns it on a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wire: list[Outgoing] = []
        self.native_thread: threading.Thread | None = None
        self._waiting: deque[tuple[Outgoing, PublishDone]] = deque()
        self._stop = threading.Event()

    def accept(self, entry: Outgoing, done: PublishDone) -> None:
        self.sent.append(entry)
        if threading.current_thread() is self.native_thread:
            self._write(entry, done)
        else:
            self._waiting.append((entry, done))

    def _write(self, entry: Outgoing, done: PublishDone) -> None:
        self.wire.append(entry)
        self.open.append((entry, done))
        self.most_open = max(self.most_open, len(self.open))

    def step(self, take: int, answers: int) -> None:
        """Write at most `take` of what waits, then give at most `answers` acknowledgements."""
        self.native_thread = threading.current_thread()
        for _ in range(min(take, len(self._waiting))):
            self._write(*self._waiting.popleft())
        self.answer(min(answers, len(self.open)))

    def start(self) -> None:
        """Turn the loop on a thread, until `stop`."""
        self.native_thread = threading.Thread(target=self._turn, daemon=True)
        self.native_thread.start()

    def _turn(self) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            self.step(take=1 + turn % 7, answers=1 + turn % 5)
            time.sleep(0)  # let the publishers in

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        assert self.native_thread is not None
        self.native_thread.join(10)


class Ending:
    """A promise that remembers how it ended, and how often it was told."""

    def __init__(self) -> None:
        self.result: PublishResult | None = None
        self.error: CustomAuthError | None = None
        self.told = 0

    def resolve(self, result: PublishResult) -> None:
        self.told += 1
        self.result = result

    def reject(self, error: CustomAuthError) -> None:
        self.told += 1
        self.error = error


def failure_of(entry: Outgoing, outcome: PublishOutcome) -> CustomAuthError | None:
    """Judge outcomes as the session does, in short."""
    if outcome.error is not None:
        return OperationError(f"{entry.topic}: {outcome.error}")
    if outcome.reason_code is not None and outcome.reason_code >= 128:
        return OperationError(f"{entry.topic}: reason code {outcome.reason_code}")
    return None


_LIMITS = {field.name for field in fields(OutboxLimits)}


def make_outbox(kind: type[Outbox] = Outbox, *, opened: bool = True, **given: Any) -> Outbox:
    """Return an open outbox on the real clock; limits may be given by their names."""
    limits = {name: given.pop(name) for name in _LIMITS & given.keys()}
    named = {"monotonic": time.monotonic, "failure_of": failure_of, "limits": OutboxLimits(**limits)}
    outbox = kind(**(named | given))
    if opened:
        outbox.open(None)
    return outbox


def entry_of(topic: str, payload: bytes = b"", *, qos: int = 1, promise: Any = None) -> Outgoing:
    """Return a message with a promise that remembers its end."""
    return Outgoing(topic, payload, promise=promise or Ending(), accepted_at=time.monotonic(), qos=qos)


def ending_of(entry: Outgoing) -> Ending:
    """Return how a message ended."""
    assert isinstance(entry.promise, Ending)
    return entry.promise


class FakeJournal:
    """A journal that commits when told, and knows what it keeps. Adding must never overlap."""

    def __init__(self, left: Sequence[Outgoing] = ()) -> None:
        self.left = list(left)
        self.added: list[Outgoing] = []
        self.uncommitted: deque[Outgoing] = deque()
        self.kept: list[Outgoing] = []
        self.commits_on_flush = True
        self._forgotten: set[Outgoing] = set()
        self._stored: Stored | None = None
        self._not_stored: NotStored | None = None

    def load(self) -> Sequence[Outgoing]:
        self.kept = list(self.left)
        return self.left

    def start(self, stored: Stored, not_stored: NotStored) -> None:
        self._stored, self._not_stored = stored, not_stored

    def add(self, entry: Outgoing) -> None:
        assert self._stored is not None, "added before the start"
        self.added.append(entry)
        self.uncommitted.append(entry)

    def settled(self, entry: Outgoing) -> None:
        if entry in self.kept:
            self.kept.remove(entry)
        else:
            assert entry in self.uncommitted, "settled twice, or never added"
            self._forgotten.add(entry)

    def commit(self, count: int, *, fails: bool = False) -> None:
        """Commit the oldest, or fail to."""
        batch = [self.uncommitted.popleft() for _ in range(min(count, len(self.uncommitted)))]
        wanted = [entry for entry in batch if entry not in self._forgotten]
        if not batch:
            return
        assert self._stored is not None
        assert self._not_stored is not None
        if fails:
            self._not_stored(batch, OutboxFull("the disk is full", code="outbox_disk_full"))
            return
        self.kept += wanted
        self._stored(batch)

    def flush(self, timeout: float) -> bool:
        if self.commits_on_flush:
            self.commit(len(self.uncommitted))
        return not self.uncommitted

    def recall(self, name: str) -> str | None:
        raise NotImplementedError

    def remember(self, name: str, value: str | None) -> None:
        raise NotImplementedError

    def close(self, timeout: float) -> None:
        raise NotImplementedError
