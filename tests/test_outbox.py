"""The outbox: what is accepted goes out once, in order, within the window, and ends once."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import GONE, Ending, FakeLink, FakeNative, ending_of, entry_of, make_outbox

from iot_customauth_client import ConnectionClosed, NotConnected, OutboxFull
from iot_customauth_client.links.base import PublishOutcome
from iot_customauth_client.outbox import Outbox
from iot_customauth_client.outgoing import Outgoing


class Ungated(Outbox):
    """The outbox without its gate: the native thread may submit whenever the window has room."""

    def _pump(self, *, cross: bool) -> None:
        flight = self._flight
        while flight is not None and self._pending and flight.sent - flight.done < flight.window:
            if not self._pumping.acquire(blocking=False):
                return
            try:
                self._submit(flight, cross=cross)
            finally:
                self._pumping.release()


def closed(entry: Outgoing) -> ConnectionClosed:
    return ConnectionClosed(f"over: {entry.topic}")


class IntrudedLock:
    """A lock at whose taking others come in between, once: `before` it is held, and `held`, while it is."""

    def __init__(self) -> None:
        self.before: Callable[[], None] | None = None
        self.held: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True) -> bool:
        before, self.before = self.before, None
        if before is not None:
            before()
        taken = self._lock.acquire(blocking)
        held, self.held = self.held, None
        if held is not None and taken:
            held()
        return taken

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


# -- order ------------------------------------------------------------------------------------------------------------


def wire_order(kind: type[Outbox], schedule: list[tuple[int, int, int]], window: int) -> list[int]:
    """Run one fixed interleaving of publisher and native thread; return the numbers as they reach the wire."""
    outbox, link = make_outbox(kind), FakeNative()
    outbox.attach(link, window)
    accepted = 0
    for publish, take, answers in [*schedule, *[(0, 50, 50)] * 200]:
        link.native_thread = None  # this is the publisher
        for _ in range(publish):
            outbox.accept(entry_of(str(accepted)))
            accepted += 1
        link.step(take, answers)  # and this the native thread
    assert outbox.unacknowledged == 0
    assert len(link.wire) == accepted
    return [int(entry.topic) for entry in link.wire]


HAZARD = [(8, 2, 2), (0, 2, 2)]
"""Four wait for the native thread, two of them are acknowledged: it could submit the next ones past the other two."""


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8)), max_size=20),
    st.integers(1, 8),
)
def test_order_is_kept_in_any_interleaving_of_publisher_and_native_thread(
    schedule: list[tuple[int, int, int]], window: int
) -> None:
    order = wire_order(Outbox, schedule, window)
    assert order == sorted(order)


def test_the_known_hazard_keeps_its_order() -> None:
    assert wire_order(Outbox, HAZARD, 4) == list(range(8))


def test_the_same_hazard_reorders_without_the_gate() -> None:
    order = wire_order(Ungated, HAZARD, 4)
    assert sorted(order) == list(range(8))
    assert order != sorted(order)


def test_a_publisher_that_comes_between_the_gate_and_the_pump_is_not_overtaken() -> None:
    outbox, link, lock = make_outbox(), FakeNative(), IntrudedLock()
    outbox._pumping = lock  # type: ignore[assignment]
    outbox.attach(link, 6)
    for number in range(8):
        outbox.accept(entry_of(str(number)))
    link.step(take=6, answers=5)

    def publish(*topics: str) -> None:
        link.native_thread, native = None, link.native_thread
        for topic in topics:
            outbox.accept(entry_of(topic))
        link.native_thread = native

    # The last acknowledgement opens the gate; then 6, 7 and 8 are submitted by the publisher, and 9 finds the pump
    # taken and is left to the native thread, which must not send it past the three.
    def intrude() -> None:
        publish("8")
        lock.held = lambda: publish("9")

    lock.before = intrude
    link.step(take=0, answers=1)
    for _ in range(20):
        link.step(take=5, answers=5)
    assert [entry.topic for entry in link.wire] == [str(number) for number in range(10)]


@pytest.mark.parametrize("publishers", [1, 8])
def test_many_threads_publish_while_another_acknowledges_and_each_keeps_its_order(publishers: int) -> None:
    count = 4_000 // publishers
    outbox, link = make_outbox(), FakeNative()
    outbox.attach(link, 20)
    link.start()

    def publish(name: int) -> None:
        for number in range(count):
            outbox.accept(entry_of(f"{name}/{number}"))

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(publishers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outbox.wait_empty(30)
    link.stop()
    for name in range(publishers):
        mine = [entry.topic for entry in link.wire if entry.topic.startswith(f"{name}/")]
        assert mine == [f"{name}/{number}" for number in range(count)]
    assert len(link.wire) == publishers * count
    assert link.most_open <= 20
    assert all(ending_of(entry).told == 1 for entry in link.wire)


def test_order_is_kept_while_others_withdraw() -> None:
    outbox, link = make_outbox(), FakeNative()
    outbox.attach(link, 4)
    link.start()
    entries = [entry_of(str(number)) for number in range(3_000)]
    regretted: SimpleQueue[Outgoing | None] = SimpleQueue()
    withdrawn: list[Outgoing] = []

    def withdraw() -> None:
        withdrawn.extend(entry for entry in iter(regretted.get, None) if outbox.withdraw(entry))

    thread = threading.Thread(target=withdraw)
    thread.start()
    for number, entry in enumerate(entries):
        outbox.accept(entry)
        if number % 3 == 2:
            regretted.put(entry)
    regretted.put(None)
    thread.join(30)
    assert outbox.wait_empty(30)
    link.stop()
    unsent = {entry.topic for entry in withdrawn}
    assert [entry.topic for entry in link.wire] == [entry.topic for entry in entries if entry.topic not in unsent]
    assert {ending_of(entry).told for entry in withdrawn} <= {0}


# -- the window -------------------------------------------------------------------------------------------------------


def test_once_the_window_was_full_publishers_wait_until_half_of_it_is_free() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 8)
    for number in range(8):
        outbox.accept(entry_of(str(number)))
    assert len(link.sent) == 8  # up to here each goes at once
    link.answer(2)
    outbox.accept(entry_of("8"))
    assert len(link.sent) == 8
    link.answer(2)
    outbox.accept(entry_of("9"))
    assert link.topics == [str(number) for number in range(10)]
    link.answer(2)
    outbox.accept(entry_of("10"))
    assert len(link.sent) == 11  # it was not full again


def test_no_more_than_a_window_is_in_flight_and_refills_come_in_bursts() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 10)
    for number in range(30):
        outbox.accept(entry_of(str(number)))
    assert len(link.sent) == 10
    link.answer(4)
    assert len(link.sent) == 10  # not one at a time
    link.answer(6)
    assert len(link.sent) == 20
    link.answer(4)
    assert len(link.sent) == 20  # the native thread's own submissions come in bursts as well
    link.answer(1)
    assert len(link.sent) == 25
    link.answer_all()
    assert len(link.sent) == 30
    assert link.most_open <= 10


@pytest.mark.parametrize("window", [1, 2, 3, 100])
def test_all_goes_out_whatever_the_window(window: int) -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, window)
    for number in range(250):
        outbox.accept(entry_of(str(number)))
    link.answer_all()
    assert link.topics == [str(number) for number in range(250)]
    assert link.most_open == min(window, 250)


def test_what_was_accepted_before_the_link_goes_out_when_it_is_attached() -> None:
    outbox, link = make_outbox(), FakeLink()
    for number in range(5):
        outbox.accept(entry_of(str(number)))
    assert link.sent == []
    outbox.attach(link, 100)
    assert link.topics == ["0", "1", "2", "3", "4"]


def test_a_link_that_answers_before_publish_returns_does_not_stop_the_pump() -> None:
    outbox, link = make_outbox(), FakeLink()
    link.answers_at_once = True
    for number in range(1_500):
        outbox.accept(entry_of(str(number)))
    outbox.attach(link, 2)
    assert len(link.sent) == 1_500
    assert outbox.unacknowledged == 0


# -- being full -------------------------------------------------------------------------------------------------------


def test_as_many_messages_as_allowed_are_taken_and_no_more() -> None:
    outbox, link = make_outbox(max_messages=3), FakeLink()
    for number in range(3):
        outbox.accept(entry_of(str(number)))
    with pytest.raises(OutboxFull, match=r"3 messages wait .*at most 3"):
        outbox.accept(entry_of("too many"))
    assert outbox.unacknowledged == 3
    outbox.attach(link, 100)
    with pytest.raises(OutboxFull):  # sent is not acknowledged
        outbox.accept(entry_of("too many"))
    link.answer()
    outbox.accept(entry_of("fits"))
    assert link.topics == ["0", "1", "2", "fits"]


def test_as_many_bytes_as_allowed_are_taken_and_no_more() -> None:
    outbox, link = make_outbox(max_bytes=10), FakeLink()
    first = entry_of("a", b"x" * 6)
    outbox.accept(first)
    outbox.accept(entry_of("b", b"x" * 4))
    outbox.accept(entry_of("empty"))
    with pytest.raises(OutboxFull, match="10 bytes"):
        outbox.accept(entry_of("c", b"x"))
    assert outbox.withdraw(first)
    outbox.accept(entry_of("d", b"x" * 6))
    with pytest.raises(OutboxFull):
        outbox.accept(entry_of("e", b"x"))
    outbox.attach(link, 100)
    link.answer_all()
    outbox.accept(entry_of("f", b"x" * 10))


def test_a_message_that_was_not_accepted_is_not_told() -> None:
    outbox = make_outbox(max_messages=1)
    outbox.accept(entry_of("a"))
    refused = entry_of("b")
    with pytest.raises(OutboxFull):
        outbox.accept(refused)
    assert ending_of(refused).told == 0


# -- taking back ------------------------------------------------------------------------------------------------------


def test_what_was_not_sent_can_be_withdrawn_and_is_never_sent() -> None:
    outbox, link = make_outbox(), FakeLink()
    first, second, third = entry_of("1"), entry_of("2"), entry_of("3")
    for entry in (first, second, third):
        outbox.accept(entry)
    assert outbox.withdraw(second)
    assert not outbox.withdraw(second)
    assert ending_of(second).told == 0
    assert outbox.unacknowledged == 2
    outbox.attach(link, 100)
    assert link.topics == ["1", "3"]


def test_what_was_sent_cannot_be_withdrawn() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 1)
    sent = entry_of("1")
    outbox.accept(sent)
    assert not outbox.withdraw(sent)
    link.answer()
    assert not outbox.withdraw(sent)
    assert ending_of(sent).result is not None


def test_withdrawing_lets_the_next_ones_go() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 1)
    entries = [entry_of(str(number)) for number in range(4)]
    for entry in entries:
        outbox.accept(entry)
    outbox.withdraw(entries[1])
    link.answer()
    assert link.topics == ["0", "2"]


def test_an_acknowledgement_that_finds_the_outbox_busy_with_a_withdrawal_lets_the_next_one_go_all_the_same() -> None:
    outbox, link, lock = make_outbox(), FakeLink(), IntrudedLock()
    outbox._pumping = lock  # type: ignore[assignment]
    outbox.attach(link, 1)
    outbox.accept(entry_of("first"))
    outbox.accept(entry_of("in between"))
    lock.held = link.answer
    assert not outbox.withdraw(entry_of("never accepted"))
    assert link.topics == ["first", "in between"]


def test_a_withdrawn_message_is_let_go_at_once() -> None:
    outbox = make_outbox()
    kept, entry = entry_of("kept"), entry_of("withdrawn")
    outbox.accept(kept)
    outbox.accept(entry)
    held = weakref.ref(entry.promise)
    assert outbox.withdraw(entry)
    del entry
    gc.collect()
    assert held() is None


# -- the end of one message -------------------------------------------------------------------------------------------


def test_a_result_tells_code_attempts_and_times() -> None:
    times = iter(range(100, 1_000, 10))
    outbox, link = make_outbox(monotonic=lambda: float(next(times))), FakeLink()
    entry = Outgoing("a", b"", promise=Ending(), accepted_at=95.0)
    outbox.attach(link, 10)
    outbox.accept(entry)
    link.answer(1, PublishOutcome(reason_code=16))
    result = ending_of(entry).result
    assert result is not None
    assert (result.reason_code, result.attempts, result.queued_seconds, result.elapsed_seconds) == (16, 1, 5.0, 15.0)


def test_a_refused_publish_ends_with_its_error_and_the_next_go_on() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 1)
    refused, following = entry_of("a"), entry_of("b")
    outbox.accept(refused)
    outbox.accept(following)
    link.answer(1, PublishOutcome(reason_code=135))
    assert str(ending_of(refused).error) == "a: reason code 135"
    assert link.topics == ["a", "b"]


def test_a_publish_that_fails_at_once_ends_and_frees_its_place() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 2)
    link.fails_with = PublishOutcome(error=ValueError("awscrt says no"))
    failing = [entry_of(str(number)) for number in range(10)]
    for entry in failing:
        outbox.accept(entry)
    assert all("awscrt says no" in str(ending_of(entry).error) for entry in failing)
    assert outbox.unacknowledged == 0
    link.fails_with = None
    outbox.accept(entry_of("next"))
    assert link.topics == ["next"]
    link.answer()
    assert outbox.unacknowledged == 0


def test_a_failure_at_once_in_the_middle_of_a_burst_keeps_the_order_of_the_rest() -> None:
    class Picky(FakeLink):
        def publish(self, entry: Outgoing, done: object) -> PublishOutcome | None:
            if entry.topic == "bad":
                return PublishOutcome(error=ValueError("no"))
            return super().publish(entry, done)  # type: ignore[arg-type]

    outbox, link = make_outbox(), Picky()
    for topic in ("1", "bad", "2", "bad", "3"):
        outbox.accept(entry_of(topic))
    outbox.attach(link, 2)
    link.answer_all()
    assert link.topics == ["1", "2", "3"]
    assert outbox.wait_empty(0)


def test_a_late_acknowledgement_after_the_end_changes_nothing() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 10)
    entry = entry_of("a")
    outbox.accept(entry)
    outbox.fail_all(closed)
    link.answer()
    assert ending_of(entry).told == 1
    assert isinstance(ending_of(entry).error, ConnectionClosed)
    assert outbox.unacknowledged == 0


# -- QoS 0 ------------------------------------------------------------------------------------------------------------


def test_qos_0_is_never_kept_for_later() -> None:
    outbox, link = make_outbox(), FakeLink()
    entry = entry_of("a", qos=0)
    outbox.accept(entry)
    assert isinstance(ending_of(entry).error, NotConnected)
    assert outbox.unacknowledged == 0
    outbox.attach(link, 10)
    assert link.sent == []


def test_qos_0_goes_out_in_its_turn_and_fails_with_the_connection() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 10)
    for entry in (kept := entry_of("1"), lost := entry_of("0", qos=0)):
        outbox.accept(entry)
    assert link.topics == ["1", "0"]
    link.answer_all(GONE)
    assert ending_of(kept).told == 0  # the session decides
    assert ending_of(lost).error is not None
    assert outbox.unacknowledged == 1


# -- the connection went away, and the end ----------------------------------------------------------------------------


def test_what_was_in_flight_when_the_connection_went_is_known_in_order() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 4)
    entries = [entry_of(str(number)) for number in range(6)]
    for entry in entries:
        outbox.accept(entry)
    link.answer()
    link.answer(3, GONE)
    assert [entry.topic for entry in outbox.suspects()] == ["1", "2", "3"]
    assert outbox.in_flight == 3
    outbox.accept(entry_of("later"))
    assert link.topics == ["0", "1", "2", "3"]  # nothing is given to a link that says that the connection is gone


def test_after_detach_nothing_is_sent() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 2)
    for number in range(6):
        outbox.accept(entry_of(str(number)))
    outbox.detach()
    assert outbox.in_flight == 0
    link.answer_all()
    assert link.topics == ["0", "1"]
    assert outbox.unacknowledged == 4


def test_at_the_end_everything_fails_first_what_was_in_flight() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 2)
    entries = [entry_of(str(number)) for number in range(5)]
    for entry in entries:
        outbox.accept(entry)
    outbox.withdraw(entries[3])
    order: list[str] = []

    def error_of(entry: Outgoing) -> ConnectionClosed:
        order.append(entry.topic)
        return closed(entry)

    outbox.fail_all(error_of)
    assert order == ["0", "1", "2", "4"]
    assert [ending_of(entry).told for entry in entries] == [1, 1, 1, 0, 1]
    assert outbox.lost == outbox.failed == 4
    assert outbox.unacknowledged == 0
    for qos in (0, 1):
        with pytest.raises(ConnectionClosed, match="over: next"):
            outbox.accept(entry_of("next", qos=qos))


def test_every_message_ends_exactly_once_when_the_end_races_with_publishers() -> None:
    outbox, link = make_outbox(max_messages=100_000), FakeNative()
    outbox.attach(link, 20)
    link.start()
    accepted: list[list[Outgoing]] = [[] for _ in range(4)]
    begun = threading.Barrier(5)

    def publish(mine: list[Outgoing]) -> None:
        begun.wait()
        for number in range(20_000):
            entry = entry_of(str(number))
            try:
                outbox.accept(entry)
            except ConnectionClosed:
                return
            mine.append(entry)

    threads = [threading.Thread(target=publish, args=(mine,)) for mine in accepted]
    for thread in threads:
        thread.start()
    begun.wait()
    while not link.wire:
        pass
    outbox.fail_all(closed)
    for thread in threads:
        thread.join(30)
    link.stop()
    entries = [entry for mine in accepted for entry in mine]
    assert entries
    assert {ending_of(entry).told for entry in entries} == {1}
    assert outbox.unacknowledged == 0


def test_waiting_for_empty_ends_with_the_last_acknowledgement() -> None:
    outbox, link = make_outbox(), FakeLink()
    assert outbox.wait_empty(0)
    outbox.attach(link, 10)
    outbox.accept(entry_of("1"))
    outbox.accept(entry_of("2"))
    assert not outbox.wait_empty(0.01)
    answers: list[bool] = []
    waiter = threading.Thread(target=lambda: answers.append(outbox.wait_empty(50)), daemon=True)
    waiter.start()
    pause = threading.Event()
    while outbox._waiting.condition is None:
        pause.wait(0.001)
    link.answer_all()
    waiter.join(10)
    assert answers == [True]


def test_nothing_is_held_after_its_end() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 10)
    held: list[weakref.ref[object]] = []
    for number in range(100):
        entry = entry_of(str(number))
        held.append(weakref.ref(entry.promise))
        outbox.accept(entry)
        del entry
    link.answer_all()
    link.sent.clear()
    gc.collect()
    assert [reference() for reference in held] == [None] * 100
    assert outbox.suspects() == ()
