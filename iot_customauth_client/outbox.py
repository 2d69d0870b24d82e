"""The outbox of one connection, as its session and its users see it: attach a link, pause, store, end, ask.

How messages get through, fast and in order, is told in `pump.py`. Here is what happens around it, and it is done while
publishers and the pump are locked out: what was under way when a connection went away is taken back, what cannot be
kept is told so, and at the end each message that is left ends once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from . import outbox_errors
from .errors import CustomAuthError
from .flight import Flight
from .outbox_values import OutboxStats
from .outgoing import QUEUED, Outgoing
from .pump import ErrorOf, Pump

if TYPE_CHECKING:
    from .journal import Journal
    from .links.base import Link


class Outbox(Pump):
    """The engine of one connection's outbox. All methods may be called from any thread; only `wait_...` wait.

    `failure_of` judges the end of a publish; `limits` bound what is accepted; `rate` holds the pump back on the real
    clock; `call_at` makes timers on the connection's clock, on which `monotonic` tells the time: without it expired
    messages are found only when their turn comes, and PUBACK 151 (quota exceeded) is an error at once. With it such a
    message is sent again after pauses of 1, 2, 4, 8 and 16 s, in which nothing is sent: the service threw it away
    since there was too much. Calls that timers lead to run on `workers`, or without them on the clock's thread.
    """

    __slots__ = ()

    # -- publishers ----------------------------------------------------------------------------------------------------

    def withdraw(self, entry: Outgoing) -> bool:
        """Take a message back if it was never sent, and say whether that was so. Its promise is not told."""
        with self._accepting, self._pumping:
            mine = entry.number is not None and entry.attempts == 0 and self._finish(entry)
            if mine:
                self._backlog.remove(entry)
        self._pump(cross=True)
        return mine

    @property
    def keeps(self) -> bool:
        """Whether a journal stores the messages of this outbox, or may, since it was not opened yet."""
        return not self._intake.direct

    def wait_stored(self, entry: Outgoing, timeout: float | None) -> bool:
        """Wait until a message is stored, has ended, or it is clear that nothing is ever stored here (see `keeps`).

        `False` if `timeout` seconds were not enough.
        """
        return self._wait_for(lambda: entry.stored or entry.settled or not self.keeps, timeout)

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

    # -- the session ---------------------------------------------------------------------------------------------------

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
            with self._settling:
                self._waiting.tell()  # who waits for storage now learns whether there is any
        self._reject(unwanted, outbox_errors.not_connected)
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
        self._reject(unwanted, outbox_errors.not_connected)
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
                self._first_qos0 = {}
                if flight is not None:
                    unwanted = self._take_back(flight, keep=keep_in_flight)
                    self._kept = flight if keep_in_flight and flight.live else None
            self._backlog.put_back()
            if not self._paused:
                unwanted += self._backlog.take_pending(lambda entry: not entry.qos)
        self._reject(unwanted, outbox_errors.not_connected)
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
                unwanted = self._backlog.take_pending(lambda entry: not entry.qos)
        self._reject(unwanted, outbox_errors.not_connected)
        self._pump(cross=True)

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
                self._backlog.remove(entry)
        if mine:
            self.failed += 1
            entry.promise.reject(error)
            self._pump(cross=True)
            self._tell_drained()
        return mine

    def waiting(self) -> tuple[Outgoing, ...]:
        """Return what is to be sent, in order."""
        with self._accepting, self._pumping:
            self._backlog.put_back()
            return tuple(entry for entry in self._backlog if not entry.settled)

    def first_qos0(self) -> tuple[tuple[str, float], ...]:
        """Return topics of QoS 0, and when each was first sent to over the present connection; at most 256."""
        return tuple(self._first_qos0.copy().items())

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
            self._backlog.put_back()
            entries += self._backlog
            self._backlog.clear()
        kept = 0
        for entry in entries:
            with self._settling:  # together: what is told to be stored in this moment must not be forgotten
                keep = entry.stored and self._intake.journal is not None
                mine = self._mark_settled(entry)
            if mine:
                if entry.journaled and not keep:
                    self._forget(entry)
                kept += keep
                self.lost += 1
                self.failed += 1
                error = error_of(entry)
                entry.promise.reject(outbox_errors.kept(entry, error) if keep else error)
        self._tell_drained()
        return kept

    # -- the journal's thread ------------------------------------------------------------------------------------------

    def _stored(self, entries: Sequence[Outgoing]) -> None:
        with self._accepting:
            with self._settling:
                for entry in entries:
                    if not entry.settled:
                        entry.stored = True
                        self._stored_messages += 1
                self._waiting.tell()
            unwanted = self._admit(self._intake.ready())
        self._reject(unwanted, outbox_errors.not_connected)
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
        self._reject(unwanted, outbox_errors.not_connected)
        self._pump(cross=True)

    def _admit(self, entries: Sequence[Outgoing]) -> list[Outgoing]:
        """Let messages from the intake be sent; return the QoS 0 ones for which there is no link."""
        if self._flight is not None or self._paused:
            self._pending.extend(entries)
            return []
        self._pending.extend(entry for entry in entries if entry.qos)
        return [entry for entry in entries if not entry.qos]

    # -- what is in flight ---------------------------------------------------------------------------------------------

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
