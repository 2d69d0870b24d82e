"""What was accepted and is not acknowledged yet, and the pump that sends it: fast, in order, and across connections.

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

import heapq
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from .errors import ConnectionClosed, CustomAuthError, MessageExpired, NotConnected, OutboxFull
from .flight import Flight
from .intake import Intake
from .messages import PublishResult
from .outbox_values import OutboxLimits, OutboxStats
from .outgoing import QUEUED, SENT, SETTLED, Outgoing

if TYPE_CHECKING:
    from .clock import Timer
    from .journal import Journal
    from .links.base import Link, PublishOutcome
    from .rate import Rate
    from .workers import Workers

    CallAt = Callable[[float, Callable[[], None]], Timer]

ErrorOf = Callable[[Outgoing], CustomAuthError]

_QUOTA_EXCEEDED: Final = 0x97
_FIRST_PAUSE_SECONDS: Final = 1.0
_MOST_PAUSES: Final = 5
_RECENT: Final = 64
_FAILED: Final = 0x80
_BY_NUMBER: Final = attrgetter("number")


class Outbox:
    """The engine of one connection's outbox. All methods may be called from any thread; only `wait_...` wait.

    `failure_of` judges the end of a publish; `limits` bound what is accepted; `rate` holds the pump back on the real
    clock; `call_at` makes timers on the connection's clock, on which `monotonic` tells the time: without it expired
    messages are found only when their turn comes, and PUBACK 151 (quota exceeded) is an error at once. With it such a
    message is sent again after pauses of 1, 2, 4, 8 and 16 s, in which nothing is sent: the service threw it away
    since there was too much. Calls that timers lead to run on `workers`, or without them on the clock's thread.
    """

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
        self._monotonic = monotonic
        self._failure_of = failure_of
        self._limits = limits or OutboxLimits()
        self._max_messages, self._max_bytes = self._limits.max_messages, self._limits.max_bytes
        self._workers = workers
        self._rate = rate
        self._call_at = call_at
        self._accepting = threading.Lock()
        self._pumping = threading.Lock()
        self._settling = threading.Lock()
        self._settled = threading.Condition(self._settling)
        self._intake = Intake()
        self._pending: deque[Outgoing] = deque()
        self._returned: deque[Outgoing] = deque()  # to be merged into pending; any thread appends
        self._flight: Flight | None = None
        self._kept: Flight | None = None  # while the connection of a link that sends again by itself is lost
        self._paused = False
        self._holds = 0
        self._held = False  # paused, or a rate or the service holds
        self._sweep_at = math.inf
        self._ended: ErrorOf | None = None
        self._drained: list[Callable[[], None]] = []
        self._barred: dict[str, CustomAuthError] = {}
        self._recent_qos0: deque[tuple[str, float]] = deque(maxlen=_RECENT)
        self._waiters = 0
        self._accepted_messages = 0
        self._accepted_bytes = 0
        self._settled_messages = 0
        self._settled_bytes = 0
        self._stored_messages = 0
        self.acknowledged = 0
        """Messages that the service took (QoS 0: that were written)."""
        self.failed = 0
        """Messages that ended with an error, at the end of the connection or before."""
        self.lost = 0
        """Messages that were not acknowledged when the connection ended."""
        self.dropped = 0
        """Messages that had to make room for newer ones."""
        self.throttled = 0
        """How often the service put a message off (PUBACK 151)."""

    # -- publishers ---------------------------------------------------------------------------------------------------

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
                refusal = _not_connected(entry)
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
            victim.promise.reject(
                OutboxFull(
                    f"the message to {victim.topic!r} was dropped to make room for a newer one: the outbox is full",
                    code="outbox_dropped",
                    what_to_do="give the outbox a higher max_messages or max_bytes, or publish less",
                )
            )
        flight = self._flight
        if flight is not None:
            # Once the window was full, everybody waits until half of it is free: bursts, also from here.
            in_flight = flight.sent - flight.done
            if in_flight <= flight.window >> 1 or (in_flight < flight.window and not flight.full):
                self._pump(cross=True)

    def withdraw(self, entry: Outgoing) -> bool:
        """Take a message back if it was never sent, and say whether that was so. Its promise is not told."""
        with self._accepting, self._pumping:
            mine = entry.number is not None and entry.attempts == 0 and self._finish(entry)
            if mine:
                self._remove(entry)
        self._pump(cross=True)
        return mine

    @property
    def accepted(self) -> int:
        """Messages accepted since the connection was made, with those that an earlier process left."""
        return self._accepted_messages

    @property
    def unacknowledged(self) -> int:
        """Messages accepted and not settled."""
        return self._accepted_messages - self._settled_messages

    @property
    def keeps(self) -> bool:
        """Whether a journal stores the messages of this outbox, or may, since it was not opened yet."""
        return not self._intake.direct

    def wait_empty(self, timeout: float | None) -> bool:
        """Wait until all that was accepted is settled; `False` if `timeout` seconds were not enough."""
        return self._wait_for(lambda: self.unacknowledged == 0, timeout)

    def wait_stored(self, entry: Outgoing, timeout: float | None) -> bool:
        """Wait until a message is stored, or has ended; `False` if `timeout` seconds were not enough."""
        return self._wait_for(lambda: entry.stored or entry.settled, timeout)

    def _wait_for(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        with self._settled:
            self._waiters += 1
            try:
                return self._settled.wait_for(condition, timeout)
            finally:
                self._waiters -= 1

    def stats(self) -> OutboxStats:
        """Count what is in the outbox now."""
        with self._accepting:
            places = (self._in_flight(), self._returned.copy(), self._pending.copy(), self._intake.waiting)
            firsts = (next((entry for entry in place if not entry.settled), None) for place in places)
            oldest = min((entry.accepted_at for entry in firsts if entry is not None), default=None)
        return OutboxStats(
            messages=self.unacknowledged,
            bytes=self._accepted_bytes - self._settled_bytes,
            oldest_age_seconds=None if oldest is None else max(0.0, self._monotonic() - oldest),
            in_flight=self.in_flight,
            stored=self._stored_messages,
            dropped=self.dropped,
        )

    # -- the session --------------------------------------------------------------------------------------------------

    def open(self, journal: Journal | None) -> None:
        """Load what an earlier process stored, which goes before all that was accepted meanwhile; once. May block.

        Until then accepted messages wait. The journal stays the caller's to close, after the outbox has ended.
        """
        loaded = [] if journal is None else list(journal.load())
        with self._accepting:
            for number, entry in enumerate(loaded, start=1 - len(loaded)):
                entry.number = number
                entry.journaled = entry.stored = True
                self._accepted_bytes += len(entry.payload)
                self._watch(entry)
            self._accepted_messages += len(loaded)
            self._stored_messages += len(loaded)
            if journal is not None:
                journal.start(self._stored, self._not_stored)
            self._pending.extend(loaded)
            unwanted = self._admit(self._intake.open(journal))
        self._reject(unwanted, _not_connected)
        self._pump(cross=True)

    def attach(self, link: Link, window: int) -> None:
        """Send over this link from now on, at most `window` unacknowledged; first what a lost connection left.

        With the link that is attached already, only the window changes.
        """
        unwanted: list[Outgoing] = []
        with self._accepting, self._pumping, self._settling:
            attached, kept = self._flight, self._kept
            if attached is not None and attached.link is link:
                attached.window = window
            elif attached is None and kept is not None and kept.link is link:
                self._take_back(kept, keep=True)
                kept.resume(window)
                self._flight, self._kept = kept, None
            else:
                for over in (attached, kept):
                    if over is not None:
                        unwanted += self._take_back(over, keep=False)
                self._flight, self._kept = Flight(link, window), None
                self._flight.acknowledged = partial(self._acknowledged, self._flight)
        self._reject(unwanted, _not_connected)
        self._pump(cross=True)

    def detach(self, *, keep_in_flight: bool = False) -> None:
        """Send nothing more: the connection is gone. Unacknowledged messages go back to the front, in their order.

        QoS 0 in flight, and waiting unless the outbox is paused, is rejected with `NotConnected`. With
        `keep_in_flight` the native object sends again by itself: what it has not given up stays in flight, if the same
        link is attached next.
        """
        with self._accepting, self._pumping:
            unwanted: list[Outgoing] = []
            with self._settling:
                flight = self._flight or self._kept
                self._flight = self._kept = None
                if flight is not None:
                    unwanted = self._take_back(flight, keep=keep_in_flight)
                    self._kept = flight if keep_in_flight and flight.live else None
            self._put_back()
            if not self._paused:
                unwanted += self._take_out(self._pending, lambda entry: not entry.qos)
        self._reject(unwanted, _not_connected)
        self._tell_drained()

    def pause(self) -> None:
        """Submit nothing new until `resume`; what is in flight goes on. QoS 0 is kept, for the link to come."""
        with self._pumping:
            self._paused = True
            self._hold(0)

    def resume(self) -> None:
        """Submit again. Without a link the reconnection is an ordinary one: QoS 0 is not kept for it."""
        unwanted: list[Outgoing] = []
        with self._accepting, self._pumping:
            self._paused = False
            self._hold(0)
            if self._flight is None:
                unwanted = self._take_out(self._pending, lambda entry: not entry.qos)
        self._reject(unwanted, _not_connected)
        self._pump(cross=True)

    @property
    def in_flight(self) -> int:
        """Messages sent and not acknowledged, over the link that is or was attached."""
        flight = self._flight or self._kept
        return 0 if flight is None else len(flight.live)

    def when_drained(self, call: Callable[[], None]) -> None:
        """Call once, on any thread, when nothing is in flight; at once if that is so. It must return at once."""
        self._drained.append(call)
        self._tell_drained()

    def suspects(self) -> tuple[Outgoing, ...]:
        """Return what is in flight, in the order of submission."""
        return tuple(entry for entry in self._in_flight() if not entry.settled)

    def reject(self, entry: Outgoing, error: CustomAuthError) -> bool:
        """End one message with an error, wherever it is; `False` if it has ended already."""
        with self._accepting, self._pumping:
            mine = entry.number is not None and self._finish(entry)
            if mine:
                flight = self._flight or self._kept
                if flight is not None:
                    flight.live.pop(entry, None)
                self._remove(entry)
        if mine:
            self.failed += 1
            entry.promise.reject(error)
            self._pump(cross=True)
            self._tell_drained()
        return mine

    def waiting(self) -> tuple[Outgoing, ...]:
        """Return what is to be sent, in order."""
        with self._accepting, self._pumping:
            self._put_back()
            places = chain(self._pending, self._intake.waiting)
            return tuple(entry for entry in places if not entry.settled)

    def recent_qos0(self) -> tuple[tuple[str, float], ...]:
        """Return topics and times of the last messages sent with QoS 0, the oldest first."""
        return tuple(self._recent_qos0.copy())

    def bar(self, topic: str, error: CustomAuthError) -> None:
        """Reject messages to this topic with copies of an error, until `unbar`."""
        self._barred = {**self._barred, topic: error}

    def unbar(self, topic: str | None = None) -> None:
        """Take messages to this topic again; `None`: to all topics."""
        self._barred = {} if topic is None else {each: error for each, error in self._barred.items() if each != topic}

    def fail_all(self, error_of: ErrorOf) -> None:
        """End everything with an error: first what was in flight, then what was pending. The outbox is over."""
        self._end(error_of)

    def finish(self, error_of: ErrorOf, *, timeout: float = 1.0) -> int:
        """End as `fail_all` does, but leave what is stored to the next process; return how many those are.

        Their promises are told so. What is being stored is given `timeout` seconds for it.
        """
        journal = self._intake.journal
        if journal is not None:
            with self._accepting:
                self._ended = error_of
            journal.flush(timeout)
        return self._end(error_of)

    def _end(self, error_of: ErrorOf) -> int:
        with self._accepting, self._pumping:
            self._ended = error_of
            entries = self._in_flight()
            self._flight = self._kept = None
            self._put_back()
            entries += [*self._pending, *self._intake.waiting]
            self._pending.clear()
            self._intake.waiting.clear()
        kept = 0
        for entry in entries:
            keep = entry.stored and self._intake.journal is not None
            if self._finish(entry, forget=not keep):
                kept += keep
                self.lost += 1
                self.failed += 1
                error = error_of(entry)
                entry.promise.reject(_kept_error(entry, error) if keep else error)
        self._tell_drained()
        return kept

    # -- the journal's thread -----------------------------------------------------------------------------------------

    def _stored(self, entries: Sequence[Outgoing]) -> None:
        with self._accepting:
            with self._settled:
                for entry in entries:
                    if not entry.settled:
                        entry.stored = True
                        self._stored_messages += 1
                if self._waiters:
                    self._settled.notify_all()
            unwanted = self._admit(self._intake.ready())
        self._reject(unwanted, _not_connected)
        self._pump(cross=True)
        for entry in entries:
            stored = getattr(entry.promise, "stored", None)
            if stored is not None:
                stored()

    def _not_stored(self, entries: Sequence[Outgoing], error: CustomAuthError) -> None:
        for entry in entries:
            entry.journaled = False
        self._reject(entries, lambda _: error.copy())
        with self._accepting:
            unwanted = self._admit(self._intake.ready())
        self._reject(unwanted, _not_connected)
        self._pump(cross=True)

    def _admit(self, entries: Sequence[Outgoing]) -> list[Outgoing]:
        """Let messages from the intake be sent; return the QoS 0 ones for which there is no link."""
        if self._flight is not None or self._paused:
            self._pending.extend(entries)
            return []
        self._pending.extend(entry for entry in entries if entry.qos)
        return [entry for entry in entries if not entry.qos]

    # -- the pump -----------------------------------------------------------------------------------------------------

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
            self._put_back()
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
                    entry.promise.reject(self._expired(entry))
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
                self._recent_qos0.append((entry.topic, now))
            live[entry] = None
            flight.sent += 1
            flight.cross_sent += cross
            failed = publish(entry, acknowledged)
            if failed is not None:
                acknowledged(entry, failed)
        flight.full = flight.sent - flight.done >= flight.window

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
                if self._waiters:
                    self._settled.notify_all()
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

    # -- holding back, and the end of a message's time ----------------------------------------------------------------

    def _hold(self, change: int) -> None:
        with self._settling:
            self._holds += change
            self._held = self._paused or self._holds > 0

    def _hold_until(self, call_at: CallAt, when: float) -> None:
        self._hold(1)
        call_at(when, self._later(Outbox._let_go))

    def _let_go(self) -> None:
        self._hold(-1)
        self._pump(cross=True)

    def _later(self, method: Callable[[Outbox], None]) -> Callable[[], None]:
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
            self._call_at(when, self._later(Outbox._sweep))

    def _sweep(self) -> None:
        with self._accepting, self._pumping:
            now = self._monotonic()
            self._put_back()
            expired = self._take_out(self._pending, lambda entry: self._deadline(entry) <= now)
            expired += self._take_out(self._intake.waiting, lambda entry: self._deadline(entry) <= now)
            self._pending.extend(self._intake.ready())
            self._sweep_at = math.inf
            left = min(chain(self._pending, self._intake.waiting), key=self._deadline, default=None)
            if left is not None:
                self._watch(left)
        self._reject(expired, self._expired)
        self._pump(cross=True)

    def _expired(self, entry: Outgoing) -> MessageExpired:
        waited = self._monotonic() - entry.accepted_at
        how = "before it could be sent" if not entry.attempts else "after it was sent without an acknowledgement"
        return MessageExpired(
            f"the message to {entry.topic!r} expired after {waited:.0f} s, {how}"
            + ("; it may have arrived" if entry.attempts else "")
        )

    # -- moving entries -----------------------------------------------------------------------------------------------

    def _in_flight(self) -> list[Outgoing]:
        flight = self._flight or self._kept
        return [] if flight is None else list(flight.live.copy())

    def _take_back(self, flight: Flight, *, keep: bool) -> list[Outgoing]:
        """Let what is in flight be sent again; return the QoS 0 messages. Pumping and settling are locked."""
        unwanted: list[Outgoing] = []
        for entry in list(flight.live):
            if entry.settled:
                del flight.live[entry]
            elif not entry.qos:
                del flight.live[entry]
                unwanted.append(entry)
            elif not keep or entry.state == QUEUED:
                del flight.live[entry]
                entry.state = QUEUED
                self._returned.append(entry)
        return unwanted

    def _put_back(self) -> None:
        """Merge what came back into pending, at its place in the order of acceptance. Pumping is locked."""
        returned: list[Outgoing] = []
        while self._returned:
            returned.append(self._returned.popleft())
        if not returned:
            return
        returned.sort(key=_BY_NUMBER)
        pending, last, before = self._pending, returned[-1].number or 0, []
        while pending and (pending[0].number or 0) < last:
            before.append(pending.popleft())
        pending.extendleft(reversed(list(heapq.merge(before, returned, key=_BY_NUMBER))))

    def _remove(self, entry: Outgoing) -> None:
        """Take one message that has ended out of the queues. Accepting and pumping are locked."""
        try:
            self._pending.remove(entry)  # the first ones are found at once
        except ValueError:
            if entry in self._intake.waiting:
                self._intake.waiting.remove(entry)
                self._pending.extend(self._intake.ready())

    @staticmethod
    def _take_out(place: deque[Outgoing], unwanted: Callable[[Outgoing], bool]) -> list[Outgoing]:
        """Take some messages, and those that have ended, out of a queue. Accepting and pumping are locked."""
        found = [entry for entry in place if unwanted(entry)]
        if found:
            kept = [entry for entry in place if not entry.settled and not unwanted(entry)]
            place.clear()
            place.extend(kept)
        return found

    def _make_room(self, size: int) -> list[Outgoing]:
        """Drop the oldest messages that were never sent, or raise `OutboxFull`. Accepting is locked."""
        messages = self._accepted_messages - self._settled_messages
        full = OutboxFull(
            f"the outbox is full: {messages} messages wait for their acknowledgement "
            f"(at most {self._max_messages}, and {self._max_bytes} bytes)",
            what_to_do="wait for the futures of earlier messages, or publish less while the network is away",
        )
        if self._limits.when_full == "raise" or size > self._max_bytes:
            raise full
        with self._pumping:
            too_many = messages - self._max_messages + 1
            too_much = self._accepted_bytes - self._settled_bytes + size - self._max_bytes
            victims: list[Outgoing] = []
            for entry in chain(self._pending, self._intake.waiting):
                if too_many <= 0 and too_much <= 0:
                    break
                if not entry.attempts and not entry.settled:
                    victims.append(entry)
                    too_many -= 1
                    too_much -= len(entry.payload)
            if too_many > 0 or too_much > 0:
                raise full
            victims = [entry for entry in victims if self._finish(entry)]
            for entry in victims:
                self._remove(entry)
            self.dropped += len(victims)
            self.failed += len(victims)
            return victims

    # -- the end of a message -----------------------------------------------------------------------------------------

    def _finish(self, entry: Outgoing, *, forget: bool = True) -> bool:
        """Mark an entry as settled; `False` if it was already. With `forget`, the journal lets go of it."""
        with self._settling:
            mine = self._mark_settled(entry)
        if mine and forget and entry.journaled:
            self._forget(entry)
        return mine

    def _mark_settled(self, entry: Outgoing) -> bool:
        if entry.settled:
            entry.state = SETTLED  # the pump may have had it in its hands
            return False
        entry.settled = True
        entry.state = SETTLED
        self._settled_messages += 1
        self._settled_bytes += len(entry.payload)
        self._stored_messages -= entry.stored
        if self._waiters:
            self._settled.notify_all()
        return True

    def _forget(self, entry: Outgoing) -> None:
        journal = self._intake.journal
        if journal is not None:
            journal.settled(entry)

    def _reject(self, entries: Iterable[Outgoing], error_of: ErrorOf) -> None:
        for entry in entries:
            if self._finish(entry):
                self.failed += 1
                entry.promise.reject(error_of(entry))

    def _tell_drained(self) -> None:
        while self._drained and not self.in_flight:
            try:
                call = self._drained.pop(0)
            except IndexError:
                return  # another thread was quicker
            call()


def _not_connected(entry: Outgoing) -> NotConnected:
    return NotConnected(f"not connected: a QoS 0 message to {entry.topic!r} is not kept for later")


def _kept_error(entry: Outgoing, error: CustomAuthError) -> ConnectionClosed:
    kept = ConnectionClosed(
        f"the connection ended before the message to {entry.topic!r} was acknowledged; it is stored and goes out with "
        "the next process that opens this outbox",
        client_id=error.client_id,
        phase=error.phase,
    )
    kept.__cause__ = error
    return kept
