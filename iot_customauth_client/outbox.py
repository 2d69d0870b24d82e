"""What was accepted and is not acknowledged yet, and the pump that sends it: fast, and in order.

The idea
--------
Publishers append to `_pending` under one short lock. The *pump* moves entries from there to the native client while
fewer than a window are in flight. It is run by whoever has a reason to: a publisher after accepting, or the
native thread when half of the window has been acknowledged: so that submissions come in bursts, which is where the
speed is (one at a time costs a third of it). Three rules keep the order:

1. one pump at a time (`_pumping`); who finds it taken leaves, and the holder looks at `_pending` again afterwards;
2. *the gate*: the native thread may submit only while nothing that another thread submitted is unacknowledged: its
   own submissions do not go through the native queue that the others wait in, and would overtake them;
3. the acknowledgement path takes no lock that publishers hold.

::

    accepted --> pending --pump--> in flight --PUBACK--> settled
                    |                  |
                    +--- withdrawn     +--- connection gone: stays, until `fail_all`

The outbox knows neither sockets nor faces: entries tell their `Promise` how they ended.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import CustomAuthError, MessageExpired, NotConnected, OutboxFull
from .limits import MAX_IN_FLIGHT
from .messages import PublishResult
from .outbox_values import OutboxLimits, OutboxStats
from .outgoing import QUEUED, SENT, SETTLED, Outgoing

if TYPE_CHECKING:
    from .journal import Journal
    from .links.base import Link, PublishOutcome


class Outbox:
    """Bounded by messages and bytes; full means `OutboxFull`. All methods may be called from any thread."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        failure_of: Callable[[Outgoing, PublishOutcome], CustomAuthError | None],
        limits: OutboxLimits | None = None,
        workers: object = None,
        rate: object = None,
    ) -> None:
        self._monotonic = monotonic
        self._failure_of = failure_of
        limits = limits or OutboxLimits()
        self._max_messages = limits.max_messages
        self._max_bytes = limits.max_bytes
        self._paused = False
        self._on_drained: list[Callable[[], None]] = []
        self._barred: dict[str, CustomAuthError] = {}
        self._recent: deque[tuple[str, float]] = deque(maxlen=64)
        self.acknowledged = 0
        self._accepting = threading.Lock()
        self._pumping = threading.Lock()
        self._settling = threading.Lock()
        self._settled = threading.Condition(self._settling)
        self._pending: deque[Outgoing] = deque()
        self._live: dict[int, Outgoing] = {}
        self._link: Link | None = None
        self._ended: Callable[[Outgoing], CustomAuthError] | None = None
        self._window = MAX_IN_FLIGHT
        self.failed = 0
        self._accepted_messages = 0
        self._accepted_bytes = 0
        self._settled_messages = 0
        self._settled_bytes = 0
        self._sent = 0
        self._done = 0
        self._cross_sent = 0
        self._cross_done = 0

    # -- publishers ---------------------------------------------------------------------------------------------------

    def accept(self, entry: Outgoing) -> None:
        """Take a message; it is sent as soon as a link is attached and its turn has come.

        QoS 0 is never kept for later: without a link its promise is rejected with `NotConnected`. Raises
        `OutboxFull`, and after `fail_all` what that gives for the message.
        """
        if not entry.qos and self._link is None and self._ended is None:
            entry.promise.reject(NotConnected(f"not connected: a QoS 0 message to {entry.topic!r} is not kept"))
            return
        if entry.topic in self._barred:
            entry.promise.reject(self._barred[entry.topic].copy())
            return
        size = len(entry.payload)
        with self._accepting:
            if self._ended is not None:
                raise self._ended(entry)
            messages = self._accepted_messages - self._settled_messages
            if messages >= self._max_messages or self._accepted_bytes - self._settled_bytes + size > self._max_bytes:
                raise OutboxFull(
                    f"the outbox is full: {messages} messages wait for their acknowledgement "
                    f"(at most {self._max_messages}, and {self._max_bytes} bytes)",
                    what_to_do="wait for the futures of earlier messages, or publish less while the network is away",
                )
            self._accepted_messages += 1
            self._accepted_bytes += size
            self._pending.append(entry)
        if self._sent - self._done < self._window:
            self._pump(cross=True)

    def withdraw(self, entry: Outgoing) -> bool:
        """Take a message back if it was not sent yet, and say whether that was so. Its promise is not told."""
        with self._pumping:
            mine = entry.state == QUEUED and self._finish(entry)
            if mine:
                with contextlib.suppress(ValueError):  # accepted at this very moment: the pump passes it over
                    self._pending.remove(entry)
        self._pump(cross=True)
        return mine

    @property
    def unacknowledged(self) -> int:
        """Messages accepted and not settled."""
        return self._accepted_messages - self._settled_messages

    def wait_empty(self, timeout: float) -> bool:
        """Wait until all that was accepted is settled; `False` if `timeout` seconds were not enough."""
        with self._settled:
            return self._settled.wait_for(lambda: self.unacknowledged == 0, timeout)

    # -- the session --------------------------------------------------------------------------------------------------

    def attach(self, link: Link, window: int) -> None:
        """Send over this link from now on, at most `window` unacknowledged."""
        with self._pumping:
            self._link = link
            self._window = window
            self._sent = self._done = self._cross_sent = self._cross_done = 0
        self._pump(cross=True)

    def open(self, journal: Journal | None) -> None:
        """Know where messages are stored beyond the process."""

    def detach(self, *, keep_in_flight: bool = False) -> None:
        """The link is gone: what was sent and not acknowledged goes first, in its order, over the next one."""
        with self._pumping:
            self._link = None
            if not keep_in_flight:
                again = list(self._live.copy().values())
                self._live.clear()
                for entry in again:
                    entry.state = QUEUED if entry.state == SENT else entry.state
                self._pending.extendleft(reversed(again))
            self._sent = self._done = self._cross_sent = self._cross_done = 0
        self._tell_drained()

    def pause(self) -> None:
        """Submit nothing more; what is in flight goes on."""
        self._paused = True

    def resume(self) -> None:
        """Submit again."""
        self._paused = False
        self._pump(cross=True)

    @property
    def in_flight(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._live)

    def when_drained(self, call: Callable[[], None]) -> None:
        """Call once, on any thread, when nothing is in flight."""
        self._on_drained.append(call)
        self._tell_drained()

    def _tell_drained(self) -> None:
        if not self._live:
            calls, self._on_drained = self._on_drained, []
            for call in calls:
                call()

    def suspects(self) -> tuple[Outgoing, ...]:
        """Return what is in flight, in order."""
        return tuple(self._live.copy().values())

    def waiting(self) -> tuple[Outgoing, ...]:
        """Return what is to be sent, in order."""
        with self._pumping:
            return tuple(self._pending)

    def recent_qos0(self) -> tuple[tuple[str, float], ...]:
        """Return topics and times of the last messages sent with QoS 0, oldest first."""
        return tuple(self._recent.copy())

    def reject(self, entry: Outgoing, error: CustomAuthError) -> bool:
        """Settle one message with an error, wherever it is; `False` if it was settled already."""
        with self._pumping:
            self._live.pop(id(entry), None)
            mine = self._finish(entry)
        if mine:
            self.failed += 1
            entry.promise.reject(error)
        return mine

    def bar(self, topic: str, error: CustomAuthError) -> None:
        """Refuse messages to this topic with copies of an error, until `unbar`."""
        self._barred = {**self._barred, topic: error}

    def unbar(self, topic: str | None = None) -> None:
        """Take messages to this topic again; `None`: to all topics."""
        self._barred = {} if topic is None else {each: error for each, error in self._barred.items() if each != topic}

    def finish(self, error_of: Callable[[Outgoing], CustomAuthError]) -> int:
        """End it, and return how many messages are kept for a later process."""
        self.fail_all(error_of)
        return 0

    def stats(self) -> OutboxStats:
        """Return what is in it."""
        return OutboxStats(
            messages=self.unacknowledged,
            bytes=self._accepted_bytes - self._settled_bytes,
            oldest_age_seconds=None,
            in_flight=self.in_flight,
            stored=0,
            dropped=0,
        )

    def fail_all(self, error_of: Callable[[Outgoing], CustomAuthError]) -> None:
        """Settle everything with an error: first what was in flight, then what was pending. The outbox is over."""
        with self._accepting:
            self._ended = error_of
        with self._pumping:
            self._link = None
            entries = [*self._live.copy().values(), *self._pending]
            self._pending.clear()
        for entry in entries:
            self._live.pop(id(entry), None)
            if self._finish(entry):
                self.failed += 1
                entry.promise.reject(error_of(entry))

    # -- the pump -----------------------------------------------------------------------------------------------------

    def _pump(self, *, cross: bool) -> None:
        while self._pending and self._sent - self._done < self._window:
            if not cross and self._cross_sent != self._cross_done:
                return  # the gate
            if not self._pumping.acquire(blocking=False):
                return  # the holder looks at _pending again
            try:
                if self._link is None or self._paused or (not cross and self._cross_sent != self._cross_done):
                    return
                self._submit(self._link, cross=cross)
            finally:
                self._pumping.release()

    def _submit(self, link: Link, *, cross: bool) -> None:
        pending, live, window = self._pending, self._live, self._window
        now = self._monotonic()
        while pending and self._sent - self._done < window:
            entry = pending.popleft()
            if entry.state != QUEUED:
                continue  # withdrawn
            if entry.expiry_seconds is not None and not self._age(entry, entry.expiry_seconds, now):
                continue
            if not entry.qos:
                self._recent.append((entry.topic, now))
            entry.state = SENT
            entry.sent_at = now
            entry.attempts += 1
            entry.cross = cross
            live[id(entry)] = entry
            self._sent += 1
            self._cross_sent += cross
            failed = link.publish(entry, self._acknowledged)
            if failed is not None:
                self._sent -= 1
                self._cross_sent -= cross
                self._settle(entry, failed)

    def _age(self, entry: Outgoing, expiry_seconds: int, now: float) -> bool:
        """Count the time in the outbox against the expiry; `False` if the message has expired."""
        left = expiry_seconds - (now - entry.accepted_at)
        if left <= 0:
            if self._finish(entry):
                message = f"the message to {entry.topic!r} expired after {expiry_seconds} s, before it could be sent"
                entry.promise.reject(MessageExpired(message))
            return False
        entry.expiry_seconds = math.ceil(left)
        return True

    def _acknowledged(self, entry: Outgoing, outcome: PublishOutcome) -> None:
        """Take the end of one publish: on the native thread, or at once if it was that quick."""
        if entry.state != SENT or id(entry) not in self._live:
            return
        with self._settling:
            self._done += 1
            self._cross_done += entry.cross
        if outcome.gone and entry.qos:
            return  # stays in _live: the session decides
        if self._pending and self._sent - self._done <= self._window // 2:
            self._pump(cross=False)
        self._settle(entry, outcome)

    def _settle(self, entry: Outgoing, outcome: PublishOutcome) -> None:
        self._live.pop(id(entry), None)
        if self._on_drained:
            self._tell_drained()
        if not self._finish(entry):
            return
        failure = self._failure_of(entry, outcome)
        if failure is not None:
            self.failed += 1
            entry.promise.reject(failure)
            return
        self.acknowledged += 1
        now = self._monotonic()
        sent_at = entry.sent_at if entry.sent_at is not None else now
        entry.promise.resolve(
            PublishResult(outcome.reason_code, entry.attempts, sent_at - entry.accepted_at, now - entry.accepted_at)
        )

    def _finish(self, entry: Outgoing) -> bool:
        """Mark an entry as settled; `False` if it was already."""
        with self._settled:
            if entry.state == SETTLED:
                return False
            entry.state = SETTLED
            self._settled_messages += 1
            self._settled_bytes += len(entry.payload)
            if self._settled_messages == self._accepted_messages:
                self._settled.notify_all()
            return True
