"""The outbox under any interleaving: no accepted QoS 1 message is lost or ends twice, and order is kept."""

from __future__ import annotations

from typing import Any

from depth import examples
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule
from outbox_support import ACKNOWLEDGED, GONE, Ending, FakeJournal, FakeLink, ending_of, make_outbox

from iot_customauth_client import ManualClock, OperationError, OutboxFull
from iot_customauth_client.links.base import PublishDone, PublishOutcome
from iot_customauth_client.outgoing import Outgoing

QUOTA = PublishOutcome(reason_code=151)
REFUSED = PublishOutcome(reason_code=135)


class LoggedLink(FakeLink):
    """Notes in which order messages go out for the first time; insists that what a journal keeps is stored before."""

    def __init__(self, log: list[Outgoing], *, stored: bool) -> None:
        super().__init__()
        self._log = log
        self._stored = stored

    def accept(self, entry: Outgoing, done: PublishDone) -> None:
        assert not self._stored or entry.stored or not entry.qos
        if entry.attempts == 1:
            self._log.append(entry)
        super().accept(entry, done)


class Interleavings(RuleBasedStateMachine):
    """Publishers, a session, links that come and go, and time; with a journal or without one."""

    accepted = Bundle("accepted")

    @initialize(
        journal=st.booleans(), when_full=st.sampled_from(["raise", "drop_oldest"]), early=st.none() | st.integers(0, 3)
    )
    def begin(self, journal: bool, when_full: str, early: int | None) -> None:
        self.clock = ManualClock()
        self.outbox = make_outbox(
            monotonic=self.clock.monotonic,
            call_at=self.clock.call_at,
            opened=False,
            max_messages=12,
            when_full=when_full,
        )
        self.journal = FakeJournal() if journal else None
        self.opened = False
        self.entries: list[Outgoing] = []
        self.withdrawn: set[Outgoing] = set()
        self.link: FakeLink | None = None
        self.old: list[FakeLink] = []
        self.kept: FakeLink | None = None
        self.window = self.begun = self.carried = 0
        self.given_up: set[Outgoing] = set()  # QoS 0 that was in flight over a lost connection: of no window any more
        self.disturbed = False
        self.firsts: list[Outgoing] = []
        self.paused_at: int | None = None
        if early is not None:
            self.open(early)
            self.attach(same=False, window=4)

    # -- publishers ---------------------------------------------------------------------------------------------------

    @rule(target=accepted, qos=st.sampled_from([1, 1, 1, 0]), expiry=st.sampled_from([None, None, 5, 60]))
    def accept(self, qos: int, expiry: int | None) -> Any:
        entry = Outgoing(
            str(len(self.entries)),
            b"",
            promise=Ending(),
            accepted_at=self.clock.monotonic(),
            qos=qos,
            expiry_seconds=expiry,
        )
        try:
            self.outbox.accept(entry)
        except OutboxFull:
            assert self.outbox.unacknowledged >= 12
            return multiple()
        self.entries.append(entry)
        return entry

    @rule(count=st.integers(2, 8))
    def accept_several(self, count: int) -> None:
        for _ in range(count):
            self.accept(1, None)

    @rule(entry=accepted)
    def withdraw(self, entry: Outgoing) -> None:
        was_sent, was_over = entry.attempts > 0, bool(ending_of(entry).told) or entry in self.withdrawn
        taken = self.outbox.withdraw(entry)
        assert taken == (not was_sent and not was_over)
        if taken:
            self.withdrawn.add(entry)

    @rule(entry=accepted)
    def reject(self, entry: Outgoing) -> None:
        was_over = bool(ending_of(entry).told) or entry in self.withdrawn
        assert self.outbox.reject(entry, OperationError("quarantined")) == (not was_over)

    # -- the journal --------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.opened)
    @rule(left=st.integers(0, 3))
    def open(self, left: int) -> None:
        self.opened = True
        if self.journal is not None:
            now = self.clock.monotonic()
            loaded = [Outgoing(f"loaded/{n}", b"", promise=Ending(), accepted_at=now - 1) for n in range(left)]
            self.journal.left = loaded
            self.entries += loaded
        self.outbox.open(self.journal)

    @precondition(lambda self: self.opened and self.journal is not None)
    @rule(count=st.integers(1, 4), fails=st.sampled_from([False, False, True]))
    def commit(self, count: int, fails: bool) -> None:
        assert self.journal is not None
        self.journal.commit(count, fails=fails)

    # -- links --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.link is None)
    @rule(same=st.booleans(), window=st.integers(1, 5))
    def attach(self, same: bool, window: int) -> None:
        if self.kept is not None and same:
            self.link, self.kept = self.kept, None
        else:
            if self.kept is not None:
                self.old.append(self.kept)
                self.kept = None
            self.link = LoggedLink(self.firsts, stored=self.journal is not None)
        self.window, self.carried, self.begun = window, self.taking_room(self.link), len(self.link.sent)
        self.disturbed = False
        if self.paused_at is not None:
            self.paused_at = self.begun
        self.outbox.attach(self.link, window)

    @precondition(lambda self: self.link is not None)
    @rule(keep=st.booleans(), told=st.integers(0, 5))
    def lose(self, keep: bool, told: int) -> None:
        assert self.link is not None
        self.disturbed = self.disturbed or told > 0  # what awscrt gave up after it was attached again goes out at once
        for _ in range(min(told, len(self.link.open))):
            self.link.answer(1, GONE)
        self.given_up |= {entry for entry, _ in self.link.open if not entry.qos}
        self.outbox.detach(keep_in_flight=keep)
        if keep:
            self.kept = self.link
        else:
            self.old.append(self.link)
            assert self.outbox.in_flight == 0
        self.link = None

    @precondition(lambda self: self.kept is not None and self.kept.open)
    @rule(outcome=st.sampled_from([GONE, ACKNOWLEDGED]))
    def hear_of_what_was_kept(self, outcome: PublishOutcome) -> None:
        assert self.kept is not None
        self.kept.answer(1, outcome)

    @precondition(lambda self: any(link.open for link in self.old))
    @rule(data=st.data(), outcome=st.sampled_from([GONE, ACKNOWLEDGED, REFUSED, QUOTA]))
    def hear_late(self, data: Any, outcome: PublishOutcome) -> None:
        data.draw(st.sampled_from([link for link in self.old if link.open])).answer(1, outcome)

    @precondition(lambda self: self.link is not None and self.link.open)
    @rule(count=st.integers(1, 5), outcome=st.sampled_from([ACKNOWLEDGED, ACKNOWLEDGED, ACKNOWLEDGED, REFUSED, QUOTA]))
    def answer(self, count: int, outcome: PublishOutcome) -> None:
        assert self.link is not None
        self.disturbed = self.disturbed or outcome is QUOTA  # it goes out again after what followed it
        for _ in range(min(count, len(self.link.open))):
            self.link.answer(1, outcome)

    def taking_room(self, link: FakeLink) -> int:
        """How many messages in flight count for the window."""
        return sum(entry not in self.given_up for entry, _ in link.open)

    # -- the session and time -----------------------------------------------------------------------------------------

    @rule()
    def pause(self) -> None:
        self.outbox.pause()
        self.paused_at = len(self.link.sent) if self.link is not None else 0

    @rule()
    def resume(self) -> None:
        self.paused_at = None
        self.outbox.resume()

    @rule(seconds=st.sampled_from([0.5, 1, 6, 100]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def drain(self) -> None:
        called: list[bool] = []
        self.outbox.when_drained(lambda: called.append(self.outbox.in_flight == 0))
        assert called in ([], [True])
        assert bool(called) == (self.outbox.in_flight == 0)

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def each_ends_once(self) -> None:
        for entry in getattr(self, "entries", ()):
            assert ending_of(entry).told + (entry in self.withdrawn) <= 1

    @invariant()
    def none_is_lost(self) -> None:
        if not hasattr(self, "entries"):
            return
        open_ones = [each for each in self.entries if not ending_of(each).told and each not in self.withdrawn]
        assert self.outbox.unacknowledged == len(open_ones) == self.outbox.stats().messages
        box = self.outbox
        flight = box._flight or box._kept
        held = [*box._pending, *box._returned, *box._intake.waiting, *(flight.live if flight else ())]
        places = [each for each in held if not each.settled]
        assert sorted(map(id, places)) == sorted(map(id, open_ones))  # each in one place

    @invariant()
    def first_sendings_are_in_the_order_of_acceptance(self) -> None:
        numbers = [entry.number or 0 for entry in getattr(self, "firsts", ())]
        assert numbers == sorted(numbers)

    @invariant()
    def what_a_lost_connection_left_goes_out_before_all_else_in_its_order(self) -> None:
        if getattr(self, "link", None) is not None and not self.disturbed:
            assert self.link is not None
            numbers = [entry.number or 0 for entry in self.link.sent[self.begun :]]
            assert numbers == sorted(numbers)

    @invariant()
    def no_more_than_a_window_is_in_flight(self) -> None:
        if getattr(self, "link", None) is not None:
            assert self.link is not None
            assert self.taking_room(self.link) <= max(self.window, self.carried)

    @invariant()
    def nothing_new_goes_out_while_paused(self) -> None:
        if getattr(self, "paused_at", None) is not None and self.link is not None:
            assert len(self.link.sent) == self.paused_at

    def teardown(self) -> None:
        if not hasattr(self, "entries"):
            return
        if not self.opened:
            self.open(2)
        last = LoggedLink(self.firsts, stored=self.journal is not None)
        self.paused_at = None
        self.outbox.attach(last, 4)
        self.outbox.resume()
        for _ in range(40):
            if self.journal is not None:
                self.journal.commit(100)
            last.answer_all()
            self.clock.advance(0.5)
        last.answer_all()
        assert self.outbox.unacknowledged == 0
        assert self.outbox.wait_empty(0)
        for entry in self.entries:
            assert ending_of(entry).told == (entry not in self.withdrawn)
        if self.journal is not None:
            assert self.journal.kept == []


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = hypothesis_settings(max_examples=examples(200), stateful_step_count=40)
