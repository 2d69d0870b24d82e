"""The future of a publish: an ordinary concurrent future that can also withdraw and time out."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import weakref
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest
from outbox_support import FakeLink, make_outbox

from iot_customauth_client import ManualClock, OperationError, OperationTimeout, PublishFuture, PublishResult
from iot_customauth_client.links.base import PublishOutcome
from iot_customauth_client.outbox import Outbox
from iot_customauth_client.outgoing import Outgoing
from iot_customauth_client.runtime import runtime

SECONDS = 10.0


class Sender:
    """An outbox with a link, and futures for what is published."""

    def __init__(self, window: int = 10) -> None:
        self.clock = ManualClock()
        self.link = FakeLink()
        self.window = window
        self.outbox: Outbox = make_outbox(monotonic=self.clock.monotonic)

    def connect(self) -> None:
        self.outbox.attach(self.link, self.window)

    def publish(self, topic: str = "a", *, timeout: float | None = None) -> PublishFuture:
        future = PublishFuture(runtime())
        entry = Outgoing(topic, b"", promise=future, accepted_at=self.clock.monotonic())
        future.follow(self.outbox, entry)
        self.outbox.accept(entry)
        if timeout is not None:
            future.expire_at(partial(self.clock.call_at, self.clock.monotonic() + timeout), timeout)
        return future


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def connected(sender: Sender) -> Sender:
    sender.connect()
    return sender


# -- an ordinary future -----------------------------------------------------------------------------------------------


def test_it_resolves_with_the_acknowledgement(connected: Sender) -> None:
    future = connected.publish()
    assert isinstance(future, concurrent.futures.Future)
    assert not future.done()
    connected.clock.advance(2)
    connected.link.answer()
    assert future.result(0) == PublishResult(reason_code=0, attempts=1, queued_seconds=0.0, elapsed_seconds=2.0)
    assert future.exception(0) is None


def test_it_fails_with_the_error_of_its_message(connected: Sender) -> None:
    future = connected.publish("denied")
    connected.link.answer(1, PublishOutcome(reason_code=135))
    with pytest.raises(OperationError, match="denied: reason code 135"):
        future.result(0)
    assert not future.cancelled()


def test_a_thread_that_waits_for_the_result_is_woken(connected: Sender) -> None:
    future = connected.publish()
    results: list[PublishResult] = []
    waiter = threading.Thread(target=lambda: results.append(future.result(SECONDS)))
    waiter.start()
    connected.link.answer()
    waiter.join(SECONDS)
    assert len(results) == 1


def test_waiting_for_many_works_whatever_becomes_of_them(connected: Sender) -> None:
    connected.window = 3
    connected.connect()
    futures = [connected.publish(str(number)) for number in range(6)]
    assert futures[5].cancel()

    def answer() -> None:
        connected.link.answer(1, PublishOutcome(reason_code=135))
        connected.link.answer_all()

    answering = threading.Thread(target=answer)
    answering.start()
    done, pending = concurrent.futures.wait(futures, SECONDS)
    answering.join(SECONDS)
    assert (len(done), len(pending)) == (6, 0)
    assert [future.cancelled() for future in futures] == [False] * 5 + [True]
    assert futures[0].exception(0) is not None


def test_as_completed_gives_them_as_they_end(connected: Sender) -> None:
    connected.window = 4
    connected.connect()
    futures = [connected.publish(str(number)) for number in range(6)]
    waiting = concurrent.futures.as_completed(futures, SECONDS)
    connected.link.answer(1)
    assert next(waiting) is futures[0]
    assert futures[5].cancel()
    assert next(waiting) is futures[5]
    connected.link.answer_all()
    assert set(waiting) == set(futures[1:5])


def test_the_first_exception_can_be_waited_for(connected: Sender) -> None:
    futures = [connected.publish(str(number)) for number in range(3)]
    connected.link.answer(1, PublishOutcome(reason_code=135))
    done, _ = concurrent.futures.wait(futures, SECONDS, return_when=concurrent.futures.FIRST_EXCEPTION)
    assert futures[0] in done
    connected.link.answer_all()


def test_it_can_be_awaited_by_asyncio(connected: Sender) -> None:
    future = connected.publish()

    async def wait() -> PublishResult:
        runtime().workers.submit(connected.link.answer)
        return await asyncio.wait_for(asyncio.wrap_future(future), SECONDS)

    assert asyncio.run(wait()).reason_code == 0


def test_the_first_end_counts(connected: Sender) -> None:
    future = connected.publish()
    connected.link.answer()
    future.reject(OperationError("late"))
    future.resolve(PublishResult(1, 1, 0, 0))
    assert future.result(0).reason_code == 0


# -- callbacks --------------------------------------------------------------------------------------------------------


def test_callbacks_run_on_a_worker_thread_and_may_publish_and_wait(connected: Sender) -> None:
    seen: list[tuple[str, Any]] = []
    done = threading.Event()

    def callback(ended: concurrent.futures.Future[PublishResult]) -> None:
        following = connected.publish("following")
        runtime().workers.submit(connected.link.answer)
        seen.append((threading.current_thread().name, ended))
        following.result(SECONDS)
        done.set()

    future = connected.publish()
    future.add_done_callback(callback)
    connected.link.answer()  # this is the native thread: it goes on at once
    assert done.wait(SECONDS)
    assert seen[0][0].startswith("iot-customauth-worker-")
    assert seen[0][1] is future


def test_a_callback_added_after_the_end_runs_on_a_worker_thread_too(connected: Sender) -> None:
    future = connected.publish()
    connected.link.answer()
    names: SimpleQueue[str] = SimpleQueue()
    future.add_done_callback(lambda _: names.put(threading.current_thread().name))
    assert names.get(timeout=SECONDS).startswith("iot-customauth-worker-")


@pytest.mark.parametrize("end", ["cancel", "time out", "fail"])
def test_callbacks_are_called_however_it_ends(end: str, sender: Sender) -> None:
    future = sender.publish(timeout=5)
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if end == "cancel":
        future.cancel()
    elif end == "time out":
        sender.clock.advance(5)
    else:
        sender.outbox.fail_all(lambda entry: OperationError(f"over: {entry.topic}"))
    assert done.wait(SECONDS)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_a_message_not_yet_sent_can_be_cancelled_and_is_never_sent(sender: Sender) -> None:
    future, other = sender.publish("cancelled"), sender.publish("sent")
    assert future.cancel() is True
    assert future.cancel() is True
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(0)
    sender.connect()
    sender.link.answer_all()
    assert sender.link.topics == ["sent"]
    assert other.result(0).attempts == 1


def test_once_sent_cancel_is_refused_and_has_no_effect(connected: Sender) -> None:
    future = connected.publish()
    assert future.cancel() is False
    assert not future.done()
    connected.link.answer()
    assert future.result(0).reason_code == 0
    assert future.cancel() is False


def test_cancelling_races_with_sending_and_one_of_them_wins() -> None:
    for _ in range(200):
        sender = Sender()
        future = sender.publish()
        start = threading.Barrier(2)
        cancelled: list[bool] = []

        def cancel(future: PublishFuture = future, start: threading.Barrier = start, c: list[bool] = cancelled) -> None:
            start.wait()
            c.append(future.cancel())

        thread = threading.Thread(target=cancel)
        thread.start()
        start.wait()
        sender.connect()
        thread.join(SECONDS)
        sender.link.answer_all()
        assert cancelled == [not sender.link.sent]
        assert future.cancelled() == cancelled[0]
        assert future.done()


# -- time-outs --------------------------------------------------------------------------------------------------------


def test_a_message_that_was_not_sent_in_time_is_withdrawn(sender: Sender) -> None:
    future = sender.publish("a", timeout=5)
    sender.clock.advance(4.9)
    assert not future.done()
    sender.clock.advance(0.1)
    with pytest.raises(OperationTimeout, match="'a' was not sent within 5 s and is withdrawn") as caught:
        future.result(0)
    assert caught.value.stage == "queued"
    assert isinstance(caught.value, TimeoutError)
    sender.connect()
    assert sender.link.sent == []
    assert sender.outbox.unacknowledged == 0


def test_a_message_that_was_sent_may_still_arrive_after_its_time(connected: Sender) -> None:
    future = connected.publish("a", timeout=5)
    connected.clock.advance(5)
    with pytest.raises(OperationTimeout, match="may still arrive") as caught:
        future.result(0)
    assert caught.value.stage == "sent"
    assert connected.outbox.unacknowledged == 1
    connected.link.answer()  # the late acknowledgement settles the outbox and does not disturb the future
    assert connected.outbox.unacknowledged == 0
    assert isinstance(future.exception(0), OperationTimeout)


@pytest.mark.parametrize("end", ["acknowledge", "cancel", "fail"])
def test_an_end_in_time_takes_the_timer_away(end: str, sender: Sender) -> None:
    future = sender.publish(timeout=5)
    timer = future._timer
    assert timer is not None
    if end == "acknowledge":
        sender.connect()
        sender.link.answer()
    elif end == "cancel":
        future.cancel()
    else:
        future.reject(OperationError("over"))
    assert timer.cancelled
    outcome = (future.cancelled(), None if future.cancelled() else future.exception(0))
    sender.clock.advance(100)
    assert outcome == (future.cancelled(), None if future.cancelled() else future.exception(0))


def test_a_time_out_set_after_the_end_does_nothing(connected: Sender) -> None:
    connected.link.answers_at_once = True
    future = connected.publish(timeout=5)
    assert future.result(0).reason_code == 0
    assert future._timer is None or future._timer.cancelled


# -- nothing is held --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["acknowledge", "cancel", "time out"])
def test_a_future_holds_neither_message_nor_outbox_after_its_end(end: str, sender: Sender) -> None:
    future = sender.publish(timeout=5)
    if end == "acknowledge":
        sender.connect()
        sender.link.answer()
    elif end == "cancel":
        future.cancel()
    else:
        sender.clock.advance(5)
    outbox = weakref.ref(sender.outbox)
    del sender.outbox, sender.link
    gc.collect()
    assert outbox() is None
    assert future.done()
