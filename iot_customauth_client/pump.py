"""What was accepted and is not acknowledged yet, and the pump that sends it: fast, in order, and across connections.

The idea
--------
Publishers append to `_pending` under one short lock. The *pump* moves entries from there to the native client while
fewer than a window are in flight. It is run by whoever has a reason to: a publisher after accepting, or the native
thread. Once the window was full, both wait until half of it has been acknowledged: so that submissions come in bursts,
which is where the speed is (one at a time costs a third of it). Three rules keep the order:

1. one pump at a time (`_pumping`); who finds it taken leaves, and the holder looks at `_pending` again afterwards;
2. *the gate*: the native thread may submit only while nothing that another thread submitted is unacknowledged: its
   own submissions do not go through the native queue that the others wait in, and would overtake them;
3. the acknowledgement path takes no lock that publishers hold.

::

    accepted --> intake --stored, or nothing to store--> pending --pump--> in flight --PUBACK--> settled
                    |                                     |   ^               |
                    +------- withdrawn, expired, dropped -+   +--- detach ----+ (connection gone, or PUBACK 151)

`_pending` is always in the order of acceptance (`Outgoing.number`): what comes back from a lost connection is
merged in where it was, which is at the front. Locks are taken in the order `_accepting`, `_pumping`, `_settling`. A
promise may be told while the pump is locked, so it must not call back. The outbox knows neither sockets nor faces nor
files: a link sends, a promise is told, a journal stores. It must never call a user, and never lose an entry: each one
ends once.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Self

from . import outbox_errors
from .backlog import Backlog
from .errors import CustomAuthError
from .flight import Flight
from .ledger import Ledger
from .messages import PublishResult
from .outbox_values import OutboxLimits
from .outgoing import QUEUED, SENT, SETTLED, Outgoing

if TYPE_CHECKING:
    from .clock import Timer
    from .links.base import PublishOutcome
    from .rate import Rate
    from .workers import Workers

    CallAt = Callable[[float, Callable[[], None]], Timer]

ErrorOf = Callable[[Outgoing], CustomAuthError]

_QUOTA_EXCEEDED: Final = 0x97
_FAILED: Final = 0x80
_FIRST_PAUSE_SECONDS: Final = 1.0
_MOST_PAUSES: Final = 5
_MOST_QOS0_TOPICS: Final = 256


class Pump(Ledger):
    """The part of an outbox through which every message goes; see `Outbox` for its arguments."""

    __slots__ = (
        "__weakref__",
        "_accepting",
        "_backlog",
        "_barred",
        "_call_at",
        "_drained",
        "_ended",
        "_failure_of",
        "_first_qos0",
        "_flight",
        "_held",
        "_holds",
        "_intake",
        "_kept",
        "_limits",
        "_max_bytes",
        "_max_messages",
        "_monotonic",
        "_paused",
        "_pending",
        "_pumping",
        "_rate",
        "_returned",
        "_sweep_at",
        "_workers",
    )

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        failure_of: Callable[[Outgoing, PublishOutcome], CustomAuthError | None],
        limits: OutboxLimits | None = None,
        workers: Workers | None = None,
        rate: Rate | None = None,
        call_at: CallAt | None = None,
    ) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._failure_of = failure_of
        self._limits = limits or OutboxLimits()
        self._max_messages, self._max_bytes = self._limits.max_messages, self._limits.max_bytes
        self._workers = workers
        self._rate = rate
        self._call_at = call_at
        self._accepting = threading.Lock()
        self._pumping = threading.Lock()
        self._backlog = backlog = Backlog()
        self._intake, self._pending, self._returned = backlog.intake, backlog.pending, backlog.returned
        self._flight: Flight | None = None
        self._kept: Flight | None = None  # while the connection of a link that sends again by itself is lost
        self._paused = False
        self._holds = 0
        self._held = False  # paused, or a rate or the service holds
        self._sweep_at = math.inf
        self._ended: ErrorOf | None = None
        self._drained: list[Callable[[], None]] = []
        self._barred: dict[str, CustomAuthError] = {}
        self._first_qos0: dict[str, float] = {}  # over the present connection

    def accept(self, entry: Outgoing) -> None:
        """Take a message; it is sent as soon as a link is attached and its turn has come.

        QoS 0 is never kept for later: without a link its promise is rejected with `NotConnected`, unless the outbox is
        paused (then there will be one at once). Raises `OutboxFull`, and after the end what that gives for the message.
        """
        size = len(entry.payload)
        victims: Sequence[Outgoing] = ()
        refusal: CustomAuthError | None = None
        with self._accepting:
            if self._ended is not None:
                raise self._ended(entry)
            if self._barred and entry.topic in self._barred:
                refusal = self._barred[entry.topic].copy()
            elif not entry.qos and self._flight is None and not self._paused:
                refusal = outbox_errors.not_connected(entry)
            else:
                if (
                    self._accepted_messages - self._settled_messages >= self._max_messages
                    or self._accepted_bytes - self._settled_bytes + size > self._max_bytes
                ):
                    victims = self._make_room(size)
                self._accepted_messages += 1
                self._accepted_bytes += size
                entry.number = self._accepted_messages
                if self._intake.direct:
                    self._pending.append(entry)
                else:
                    self._intake.add(entry)
                    if not entry.qos:
                        self._pending.extend(self._intake.ready())  # nothing may be before it
                if entry.expires_at is not None or self._limits.max_age_seconds is not None:
                    self._watch(entry)
        if refusal is not None:
            entry.settled = True
            self.failed += 1
            entry.promise.reject(refusal)
            return
        for victim in victims:
            victim.promise.reject(outbox_errors.dropped(victim))
        flight = self._flight
        if flight is not None:
            # Once the window was full, everybody waits until half of it is free: bursts, also from here.
            in_flight = flight.sent - flight.done
            if in_flight <= flight.window >> 1 or (in_flight < flight.window and not flight.full):
                self._pump(cross=True)

    def _make_room(self, size: int) -> Sequence[Outgoing]:
        """Drop the oldest messages that were never sent, or raise `OutboxFull`. Accepting is locked."""
        messages, limits = self.unacknowledged, self._limits
        if limits.when_full == "raise" or size > limits.max_bytes:
            raise outbox_errors.full(messages, limits)
        with self._pumping:
            too_much = self._accepted_bytes - self._settled_bytes + size - limits.max_bytes
            victims = self._backlog.oldest_unsent(messages - limits.max_messages + 1, too_much)
            if victims is None:
                raise outbox_errors.full(messages, limits)
            victims = [entry for entry in victims if self._finish(entry)]
            for entry in victims:
                self._backlog.remove(entry)
            self.dropped += len(victims)
            self.failed += len(victims)
            return victims

    # -- to the link and back ------------------------------------------------------------------------------------------

    def _pump(self, *, cross: bool) -> None:
        while (self._pending or self._returned) and not self._held:
            flight = self._flight
            if flight is None or flight.over or flight.sent - flight.done >= flight.window:
                return
            if not cross and flight.cross_sent != flight.cross_done:
                return  # the gate
            if not self._pumping.acquire(blocking=False):
                return  # the holder looks at _pending again
            try:
                if flight is self._flight and (cross or flight.cross_sent == flight.cross_done):
                    self._submit(flight, cross=cross)
            finally:
                self._pumping.release()

    def _submit(self, flight: Flight, *, cross: bool) -> None:
        if self._returned:
            self._backlog.put_back()
        pending, live, rate = self._pending, flight.live, self._rate
        publish, acknowledged, max_age = flight.link.publish, flight.acknowledged, self._limits.max_age_seconds
        now = self._monotonic()
        flight.full = False
        while pending and flight.sent - flight.done < flight.window and not self._held and not flight.over:
            entry = pending[0]
            if entry.settled:
                pending.popleft()
                continue
            if (entry.expires_at is not None or max_age is not None) and self._deadline(entry) <= now:
                pending.popleft()
                if self._finish(entry):
                    self.failed += 1
                    entry.promise.reject(outbox_errors.expired(entry, now))
                continue
            if rate is not None and (seconds := rate.take(entry)):
                self._hold_until(rate.clock.call_at, rate.clock.monotonic() + seconds)
                return
            pending.popleft()
            if entry.expires_at is not None:
                entry.expiry_seconds = math.ceil(entry.expires_at - now)
            entry.state = SENT
            entry.sent_at = now
            entry.attempts += 1
            entry.cross = cross
            entry.epoch = flight.epoch
            if not entry.qos:
                self._note_qos0(entry.topic, now)
            live[entry] = None
            flight.sent += 1
            flight.cross_sent += cross
            failed = publish(entry, acknowledged)
            if failed is not None:
                acknowledged(entry, failed)
        flight.full = flight.sent - flight.done >= flight.window

    def _note_qos0(self, topic: str, now: float) -> None:
        first = self._first_qos0
        if topic not in first and len(first) < _MOST_QOS0_TOPICS:
            first[topic] = now

    def _acknowledged(self, flight: Flight, entry: Outgoing, outcome: PublishOutcome) -> None:
        code = outcome.reason_code
        if outcome.error is not None or code == _QUOTA_EXCEEDED:
            self._ended_badly(flight, entry, outcome)
            return
        with self._settling:
            flight.done += 1
            if entry.cross:
                flight.cross_done += 1
            flight.live.pop(entry, None)
            mine = not entry.settled
            entry.state = SETTLED
            if mine:  # as `_mark_settled`, which it would cost too much to call
                entry.settled = True
                self._settled_messages += 1
                self._settled_bytes += len(entry.payload)
                self._stored_messages -= entry.stored
                if self._waiting.condition is not None:
                    self._waiting.tell()
        if flight.sent - flight.done <= flight.window >> 1 and (self._pending or self._returned):
            self._pump(cross=False)
        if mine:
            if entry.journaled:
                self._forget(entry)
            if code is not None and code >= _FAILED:
                self._tell(entry, outcome)
            else:
                self.acknowledged += 1
                now, sent_at, accepted_at = self._monotonic(), entry.sent_at, entry.accepted_at
                queued = (now if sent_at is None else sent_at) - accepted_at
                entry.promise.resolve(PublishResult(code, entry.attempts, queued, now - accepted_at))
        if self._drained:
            self._tell_drained()

    def _ended_badly(self, flight: Flight, entry: Outgoing, outcome: PublishOutcome) -> None:
        """An error, or PUBACK 151: the message may have to be sent again."""
        with self._settling:
            flight.done += 1
            flight.cross_done += entry.cross
            if outcome.gone and entry.qos and not self._note_gone(flight, entry):
                return
        if outcome.reason_code == _QUOTA_EXCEEDED and self._put_off(flight, entry):
            return  # before the pump: nothing is to go out now
        if (self._pending or self._returned) and flight.sent - flight.done <= flight.window >> 1:
            self._pump(cross=False)
        if outcome.gone and entry.qos:
            return
        if outcome.error is not None and flight is not self._flight and entry.qos:
            return  # too late to mean anything: it was taken back when the connection went
        flight.live.pop(entry, None)
        if self._finish(entry):
            self._tell(entry, outcome)
        if self._drained:
            self._tell_drained()

    def _note_gone(self, flight: Flight, entry: Outgoing) -> bool:
        """Note that the connection went before an acknowledgement came; tell whether the message is to go out now."""
        if flight not in (self._flight, self._kept) or entry.state != SENT or entry.settled:
            return False  # it was taken back already
        entry.state = QUEUED
        if entry.epoch == flight.epoch and flight is self._flight:
            flight.over = True  # it stays where it is until `detach`
            return False
        flight.live.pop(entry, None)
        self._returned.append(entry)
        return True

    def _put_off(self, flight: Flight, entry: Outgoing) -> bool:
        """Send a message that was too much for the service again, after a pause; `False` if that was often enough."""
        if self._call_at is None or not entry.qos or entry.throttled >= _MOST_PAUSES:
            return False
        with self._settling:
            if entry.settled or flight is not self._flight:
                return True  # it goes out again already
            pause = _FIRST_PAUSE_SECONDS * 2**entry.throttled
            entry.throttled += 1
            self.throttled += 1
            entry.state = QUEUED
            flight.live.pop(entry, None)
            self._returned.append(entry)
        self._hold_until(self._call_at, self._monotonic() + pause)
        return True

    def _tell(self, entry: Outgoing, outcome: PublishOutcome) -> None:
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

    # -- holding back, and the end of a message's time -----------------------------------------------------------------

    def _hold(self, change: int) -> None:
        with self._settling:
            self._holds += change
            self._held = self._paused or self._holds > 0

    def _hold_until(self, call_at: CallAt, when: float) -> None:
        self._hold(1)
        call_at(when, self._later(Pump._let_go))

    def _let_go(self) -> None:
        self._hold(-1)
        self._pump(cross=True)

    def _later(self, method: Callable[[Self], None]) -> Callable[[], None]:
        """Return what a timer calls: the method, on a worker, while this outbox lives."""
        reference, workers = weakref.ref(self), self._workers

        def call() -> None:
            outbox = reference()
            if outbox is None:
                return
            if workers is None:
                method(outbox)
            else:
                workers.submit(lambda: method(outbox))

        return call

    def _deadline(self, entry: Outgoing) -> float:
        ends = math.inf if entry.expires_at is None else entry.expires_at
        age = self._limits.max_age_seconds
        return ends if age is None else min(ends, entry.accepted_at + age)

    def _watch(self, entry: Outgoing) -> None:
        """See to it that a message ends at its time also while nothing is sent."""
        when = self._deadline(entry)
        if self._call_at is not None and when < self._sweep_at:
            self._sweep_at = when
            self._call_at(when, self._later(Pump._sweep))

    def _sweep(self) -> None:
        """Reject what has expired, and see to what will expire next."""
        with self._accepting, self._pumping:
            now = self._monotonic()
            self._backlog.put_back()
            expired = self._backlog.take_out(lambda entry: self._deadline(entry) <= now)
            self._sweep_at = math.inf
            left = min(self._backlog, key=self._deadline, default=None)
            if left is not None:
                self._watch(left)
        self._reject(expired, lambda entry: outbox_errors.expired(entry, now))
        self._pump(cross=True)

    # -- the end of a message ------------------------------------------------------------------------------------------

    def _finish(self, entry: Outgoing) -> bool:
        """Mark an entry as settled, and let the journal forget it; `False` if it was settled already."""
        with self._settling:
            mine = self._mark_settled(entry)
        if mine and entry.journaled:
            self._forget(entry)
        return mine

    def _forget(self, entry: Outgoing) -> None:
        journal = self._intake.journal
        if journal is not None:
            journal.settled(entry)

    def _reject(self, entries: Iterable[Outgoing], error_of: ErrorOf) -> None:
        for entry in entries:
            if self._finish(entry):
                self.failed += 1
                entry.promise.reject(error_of(entry))

    @property
    def in_flight(self) -> int:
        """Messages sent and not acknowledged, over the link that is or was attached."""
        flight = self._flight or self._kept
        return 0 if flight is None else len(flight.live)

    def _tell_drained(self) -> None:
        while self._drained and not self.in_flight:
            try:
                call = self._drained.pop(0)
            except IndexError:
                return  # another thread was quicker
            call()
