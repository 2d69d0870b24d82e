"""The outbox when there is too much, too late, or something to store: dropping, rates, expiry, quotas, journals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import Ending, FakeJournal, FakeLink, ending_of, entry_of, make_outbox

from iot_customauth_client import (
    ConfigurationError,
    ConnectionClosed,
    ConnectionSettings,
    ManualClock,
    MessageExpired,
    NotConnected,
    NotSupported,
    OperationError,
    OperationTimeout,
    OutboxFull,
    PublishFuture,
)
from iot_customauth_client.links.base import PublishOutcome
from iot_customauth_client.outbox import Outbox
from iot_customauth_client.outbox_memory import MemoryOutbox
from iot_customauth_client.outbox_values import OutboxLimits
from iot_customauth_client.outgoing import Outgoing
from iot_customauth_client.rate import Rate, rate_of
from iot_customauth_client.runtime import runtime

QUOTA = PublishOutcome(reason_code=151)


def closed(entry: Outgoing) -> ConnectionClosed:
    return ConnectionClosed(f"over: {entry.topic}")


def timed(clock: ManualClock, **limits: Any) -> Outbox:
    return make_outbox(monotonic=clock.monotonic, call_at=clock.call_at, **limits)


def message(clock: ManualClock, topic: str, *, expiry: int | None = None) -> Outgoing:
    return Outgoing(topic, b"", promise=Ending(), accepted_at=clock.monotonic(), expiry_seconds=expiry)


# -- full -------------------------------------------------------------------------------------------------------------


def test_the_oldest_message_not_sent_makes_room_and_its_future_says_so() -> None:
    outbox, link = make_outbox(max_messages=3, when_full="drop_oldest"), FakeLink()
    outbox.attach(link, 1)
    entries = [entry_of(str(number)) for number in range(5)]
    for entry in entries:
        outbox.accept(entry)
    assert [type(ending_of(entry).error) for entry in entries[:3]] == [type(None), OutboxFull, OutboxFull]
    error = ending_of(entries[1]).error
    assert error is not None
    assert "dropped to make room" in error.message
    assert error.code == "outbox_dropped"
    link.answer_all()
    assert link.topics == ["0", "3", "4"]
    assert outbox.stats().dropped == 2


def test_what_was_sent_is_never_dropped() -> None:
    outbox, link = make_outbox(max_messages=2, when_full="drop_oldest"), FakeLink()
    outbox.attach(link, 10)
    for topic in ("a", "b"):
        outbox.accept(entry_of(topic))
    with pytest.raises(OutboxFull):
        outbox.accept(entry_of("c"))
    outbox.detach()  # they may have arrived, and go out again
    with pytest.raises(OutboxFull):
        outbox.accept(entry_of("c"))
    assert outbox.stats().dropped == 0


def test_as_many_are_dropped_as_the_bytes_of_the_new_one_need() -> None:
    outbox = make_outbox(max_bytes=10, when_full="drop_oldest")
    entries = [entry_of(str(number), b"x" * 3) for number in range(3)]
    for entry in entries:
        outbox.accept(entry)
    with pytest.raises(OutboxFull):
        outbox.accept(entry_of("larger than all", b"x" * 11))
    outbox.accept(entry_of("new", b"x" * 6))
    assert [ending_of(entry).told for entry in entries] == [1, 1, 0]
    assert (outbox.stats().messages, outbox.stats().bytes) == (2, 9)


@pytest.mark.parametrize(
    "wrong", [{"max_messages": 0}, {"max_bytes": 0}, {"max_messages": True}, {"when_full": "block"}]
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        MemoryOutbox(**wrong)  # type: ignore[arg-type]


def test_a_memory_outbox_says_its_limits_and_has_no_journal() -> None:
    outbox = MemoryOutbox(max_messages=5, when_full="drop_oldest")
    assert outbox.limits == OutboxLimits(5, 64 * 1024 * 1024, None, "drop_oldest")
    assert "max_messages=5" in repr(outbox)


# -- late -------------------------------------------------------------------------------------------------------------


def test_a_message_expires_at_its_time_also_while_nothing_can_be_sent() -> None:
    clock = ManualClock()
    outbox = timed(clock)
    short, long = message(clock, "short", expiry=5), message(clock, "long", expiry=60)
    outbox.accept(long)
    outbox.accept(short)
    clock.advance(5)
    assert isinstance(ending_of(short).error, MessageExpired)
    assert ending_of(long).told == 0
    clock.advance(55)
    assert "before it could be sent" in str(ending_of(long).error)
    assert outbox.unacknowledged == 0


def test_each_attempt_says_what_is_left_of_the_original_expiry() -> None:
    clock = ManualClock()
    outbox, first, second = timed(clock), FakeLink(), FakeLink()
    entry = message(clock, "a", expiry=60)
    outbox.accept(entry)
    clock.advance(10)
    outbox.attach(first, 10)
    assert entry.expiry_seconds == 50
    outbox.detach()
    clock.advance(20)
    outbox.attach(second, 10)
    assert (entry.expiry_seconds, entry.attempts) == (30, 2)
    outbox.detach()
    clock.advance(30)
    assert "it may have arrived" in str(ending_of(entry).error)


def test_a_message_that_is_too_old_is_rejected() -> None:
    clock = ManualClock()
    outbox = timed(clock, max_age_seconds=100)
    entries = [message(clock, "a")]
    outbox.accept(entries[0])
    clock.advance(60)
    entries.append(message(clock, "b"))
    outbox.accept(entries[1])
    clock.advance(40)
    assert [ending_of(entry).told for entry in entries] == [1, 0]
    assert outbox.stats().oldest_age_seconds == 40
    clock.advance(60)
    assert isinstance(ending_of(entries[1]).error, MessageExpired)
    assert outbox.stats().oldest_age_seconds is None


# -- too fast ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 0.6), min_size=1, max_size=60), st.integers(1, 6))
def test_no_second_holds_more_than_the_rate(pauses: list[float], rate: int) -> None:
    clock = ManualClock()
    limited, sent = Rate(clock, messages_per_second=rate), []
    for pause in pauses:
        clock.advance(pause)
        while (seconds := limited.take(entry_of("a"))) > 0:
            clock.advance(seconds)
        sent.append(clock.monotonic())
    for begin in sent:
        assert sum(begin <= each < begin + 1 for each in sent) <= rate


def test_bytes_are_counted_too_and_one_large_message_always_goes() -> None:
    clock = ManualClock()
    limited = Rate(clock, messages_per_second=100, bytes_per_second=1_000)
    assert limited.take(entry_of("a", b"x" * 5_000)) == 0
    assert limited.take(entry_of("a")) > 0
    clock.advance(1.1)
    assert limited.take(entry_of("a", b"x" * 600)) == 0
    assert limited.take(entry_of("a", b"x" * 600)) > 0


def test_the_pump_waits_for_the_rate_and_keeps_the_order() -> None:
    clock = ManualClock()
    outbox, link = make_outbox(rate=Rate(clock, messages_per_second=3)), FakeLink()
    outbox.attach(link, 100)
    for number in range(8):
        outbox.accept(entry_of(str(number)))
    assert len(link.sent) == 3
    link.answer_all()
    assert len(link.sent) == 3
    for _ in range(3):
        clock.advance(1.1)
    assert link.topics == [str(number) for number in range(8)]


@pytest.mark.parametrize(
    ("endpoint", "limited"),
    [
        ("x-ats.iot.eu-west-1.amazonaws.com", True),
        ("x.iot.cn-north-1.amazonaws.com.cn", True),
        ("iot.example.com", False),
        ("amazonaws.com.example.org", False),
        ("localhost", False),
    ],
)
def test_the_rates_of_aws_hold_towards_its_host_names_only(endpoint: str, limited: bool) -> None:
    settings = ConnectionSettings(endpoint=endpoint)
    assert (rate_of(settings, ManualClock()) is not None) == limited
    assert rate_of(settings.replace(max_publishes_per_second=None), ManualClock()) is None
    assert rate_of(settings.replace(max_publishes_per_second=7), ManualClock()) is not None


def test_a_message_that_the_service_put_off_goes_out_again_after_growing_pauses() -> None:
    clock = ManualClock()
    outbox, link = timed(clock), FakeLink()
    outbox.attach(link, 1)
    entry, following = entry_of("a"), entry_of("b")
    outbox.accept(entry)
    outbox.accept(following)
    for pause in (1, 2, 4, 8, 16):
        link.answer(1, QUOTA)
        clock.advance(pause - 0.1)
        assert not link.open
        clock.advance(0.1)
        assert [each.topic for each, _ in link.open] == ["a"]
    link.answer(1, QUOTA)
    assert isinstance(ending_of(entry).error, OperationError)
    assert entry.attempts == 6
    assert outbox.throttled == 5
    link.answer()
    assert ending_of(following).result is not None


# -- pausing, barring, the window -------------------------------------------------------------------------------------


def test_a_pause_lets_what_is_in_flight_end_and_keeps_qos_0_for_the_next_link() -> None:
    outbox, old, new = make_outbox(), FakeLink(), FakeLink()
    outbox.attach(old, 10)
    outbox.accept(entry_of("sent"))
    outbox.pause()
    late = entry_of("late", qos=0)
    outbox.accept(late)
    drained: list[int] = []
    outbox.when_drained(lambda: drained.append(outbox.in_flight))
    assert drained == []
    old.answer()
    assert drained == [0]
    outbox.detach()
    outbox.attach(new, 10)
    assert new.sent == []
    outbox.resume()
    assert (old.topics, new.topics) == (["sent"], ["late"])


def test_going_on_without_a_link_ends_what_qos_0_waited_for() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 10)
    outbox.pause()
    entry = entry_of("a", qos=0)
    outbox.accept(entry)
    outbox.detach()
    outbox.resume()
    assert isinstance(ending_of(entry).error, NotConnected)


def test_the_window_of_a_live_link_can_change_and_nothing_is_sent_twice() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 1)
    for number in range(4):
        outbox.accept(entry_of(str(number)))
    outbox.attach(link, 3)
    assert link.topics == ["0", "1", "2"]
    assert [entry.attempts for entry in link.sent] == [1, 1, 1]


def test_a_barred_topic_is_refused_until_it_is_free_again() -> None:
    outbox, link = make_outbox(), FakeLink()
    outbox.attach(link, 10)
    outbox.bar("a", OperationError("denied before"))
    refused = entry_of("a")
    outbox.accept(refused)
    outbox.accept(entry_of("b"))
    assert str(ending_of(refused).error) == "denied before"
    outbox.unbar("a")
    outbox.accept(entry_of("a"))
    assert link.topics == ["b", "a"]


# -- stored -----------------------------------------------------------------------------------------------------------


def test_a_message_is_stored_before_it_is_sent_and_forgotten_when_it_is_acknowledged() -> None:
    outbox, link, journal = make_outbox(opened=False), FakeLink(), FakeJournal()
    outbox.open(journal)
    outbox.attach(link, 10)
    for topic in ("1", "2"):
        outbox.accept(entry_of(topic))
    outbox.accept(entry_of("0", qos=0))
    assert link.sent == []
    journal.commit(2)
    assert link.topics == ["1", "2", "0"]
    assert outbox.stats().stored == 2
    link.answer_all()
    assert journal.kept == []
    assert outbox.stats().stored == 0


def test_what_an_earlier_process_left_goes_before_what_was_accepted_meanwhile() -> None:
    left = [entry_of("old/1"), entry_of("old/2")]
    outbox, link, journal = make_outbox(opened=False), FakeLink(), FakeJournal(left)
    outbox.accept(entry_of("early"))
    outbox.attach(link, 10)
    assert link.sent == []
    outbox.open(journal)
    journal.commit(1)
    assert link.topics == ["old/1", "old/2", "early"]


def test_what_could_not_be_stored_is_told_and_the_rest_goes_on() -> None:
    outbox, link, journal = make_outbox(opened=False), FakeLink(), FakeJournal()
    outbox.open(journal)
    outbox.attach(link, 10)
    lost, following = entry_of("lost"), entry_of("following")
    outbox.accept(lost)
    outbox.accept(following)
    journal.commit(1, fails=True)
    journal.commit(1)
    error = ending_of(lost).error
    assert error is not None
    assert error.code == "outbox_disk_full"
    assert link.topics == ["following"]


def test_at_the_end_what_is_stored_is_kept_and_its_promise_says_so() -> None:
    outbox, link, journal = make_outbox(opened=False), FakeLink(), FakeJournal()
    outbox.open(journal)
    outbox.attach(link, 1)
    entries = [entry_of("sent"), entry_of("stored"), entry_of("not yet stored")]
    for entry in entries:
        outbox.accept(entry)
    journal.commit(2)
    journal.commits_on_flush = False
    assert outbox.finish(closed, timeout=0) == 2
    assert journal.kept == entries[:2]
    for entry in entries[:2]:
        assert "goes out with the next process" in str(ending_of(entry).error)
    assert str(ending_of(entries[2]).error) == "over: not yet stored"
    assert outbox.lost == 3


def test_a_future_waits_until_it_is_stored() -> None:
    outbox, journal = make_outbox(opened=False), FakeJournal()
    outbox.open(journal)
    future = PublishFuture(runtime())
    entry = entry_of("a", promise=future)
    future.follow(outbox, entry)
    outbox.accept(entry)
    with pytest.raises(OperationTimeout, match="not stored within"):
        future.wait_stored(0.01)
    committing = threading.Timer(0.05, journal.commit, (1,))
    committing.start()
    future.wait_stored(30)
    assert not future.done()
    committing.join()


def test_without_a_journal_nothing_is_ever_stored_and_waiting_for_it_says_so() -> None:
    outbox, future = make_outbox(), PublishFuture(runtime())
    entry = entry_of("a", promise=future)
    future.follow(outbox, entry)
    outbox.accept(entry)
    with pytest.raises(NotSupported, match="SqliteOutbox"):
        future.wait_stored(1)


def test_who_waits_for_storage_before_the_outbox_is_open_learns_that_there_is_none() -> None:
    outbox = make_outbox(opened=False)
    future = PublishFuture(runtime())
    entry = entry_of("a", promise=future)
    future.follow(outbox, entry)
    outbox.accept(entry)
    opening = threading.Timer(0.05, outbox.open, (None,))
    opening.start()
    with pytest.raises(NotSupported, match="SqliteOutbox"):
        future.wait_stored(10)
    assert not future.done()


class Watched(Outgoing):
    """A message that tells when somebody asks whether it is stored."""

    __slots__ = ("_is_stored", "asked")

    def __init__(self, *given: Any, **named: Any) -> None:
        self.asked: Callable[[], None] | None = None
        super().__init__(*given, **named)

    @property
    def stored(self) -> bool:  # type: ignore[override]
        answer, asked, self.asked = self._is_stored, self.asked, None
        if asked is not None:
            asked()
        return answer

    @stored.setter
    def stored(self, value: bool) -> None:
        self._is_stored = value


def test_what_is_told_to_be_stored_while_the_outbox_ends_is_not_forgotten() -> None:
    # The disk is slow: the journal comes with its news just when the outbox looks what is to be kept.
    journal, outbox = FakeJournal(), make_outbox(opened=False)
    journal.commits_on_flush = False
    outbox.open(journal)
    entry = Watched("a", b"", promise=Ending(), accepted_at=time.monotonic())
    outbox.accept(entry)
    told = threading.Event()

    def commit_now() -> None:
        def commit() -> None:
            journal.commit(1)
            told.set()

        threading.Thread(target=commit, daemon=True).start()
        while entry not in journal.kept:
            time.sleep(0.001)
        told.wait(0.3)  # it comes through, or waits for the outbox

    entry.asked = commit_now
    outbox.finish(closed, timeout=0)
    assert told.wait(10)
    assert entry.stored == (entry in journal.kept)
