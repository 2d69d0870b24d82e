"""Worker threads: nobody stands in anybody's way, order where it is asked for, and no thread without work."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from functools import partial
from queue import SimpleQueue

import pytest

from iot_customauth_client.workers import Serial, Workers

SECONDS = 10.0


def thread_of(workers: Workers) -> threading.Thread:
    """Run a call and return the thread that it ran on."""
    threads: SimpleQueue[threading.Thread] = SimpleQueue()
    workers.submit(lambda: threads.put(threading.current_thread()))
    return threads.get(timeout=SECONDS)


def test_a_call_runs_on_a_daemon_thread_with_a_name() -> None:
    thread = thread_of(Workers())
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name.startswith("iot-customauth-worker-")


def test_a_call_that_blocks_does_not_stop_others() -> None:
    workers = Workers()
    release, done = threading.Event(), threading.Event()
    blocked = threading.Semaphore(0)

    def block() -> None:
        blocked.release()
        release.wait(SECONDS)

    for _ in range(20):
        workers.submit(block)
    assert all(blocked.acquire(timeout=SECONDS) for _ in range(20))
    workers.submit(done.set)
    assert done.wait(SECONDS)
    release.set()


def test_a_call_is_not_kept_for_an_idle_thread_that_has_another_one_to_make() -> None:
    workers = Workers()
    pause = threading.Event()
    for _ in range(20):
        thread_of(workers)
        while not workers._idle:
            pause.wait(0.0005)
        second = threading.Event()
        # The idle threads are woken for the first calls and have not yet run when the next ones come.
        for _ in range(workers._idle):
            workers.submit(partial(second.wait, 3 * SECONDS))  # type: ignore[arg-type]
        workers.submit(second.set)
        assert second.wait(SECONDS)


def test_calls_may_wait_for_each_other() -> None:
    workers = Workers()
    together = threading.Barrier(8)
    done = threading.Semaphore(0)

    def call() -> None:
        together.wait(SECONDS)
        done.release()

    for _ in range(8):
        workers.submit(call)
    assert all(done.acquire(timeout=SECONDS) for _ in range(8))


def test_a_call_may_submit_another_and_wait_for_it() -> None:
    workers = Workers()
    done = threading.Event()

    def outer() -> None:
        inner = threading.Event()
        workers.submit(inner.set)
        if inner.wait(SECONDS):
            done.set()

    for _ in range(50):
        done.clear()
        workers.submit(outer)
        assert done.wait(SECONDS)


def test_a_thread_that_has_nothing_to_do_is_used_again() -> None:
    workers = Workers()
    threads = {thread_of(workers) for _ in range(50)}
    # One that has just answered may not be idle yet: then the next call gets a thread of its own.
    assert len(threads) < 10


def test_idle_threads_end_and_new_ones_come() -> None:
    workers = Workers(idle_seconds=0.02)
    thread = thread_of(workers)
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert thread_of(workers) is not thread


def test_no_call_is_lost_while_threads_come_and_go() -> None:
    workers = Workers(idle_seconds=0.0005)
    counted = threading.Semaphore(0)
    for number in range(1_000):
        workers.submit(lambda: counted.release())
        if number % 10 == 0:
            threading.Event().wait(0.0005)  # about as long as a thread stays idle
    assert all(counted.acquire(timeout=SECONDS) for _ in range(1_000))


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), asyncio.CancelledError("cancelled")])
def test_what_a_call_raises_is_logged_and_stops_nothing(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    workers = Workers()
    serial = Serial(workers)
    done = threading.Event()
    with caplog.at_level(logging.ERROR, "iot_customauth_client.workers"):
        serial.post(fail)
        serial.post(done.set)
        assert done.wait(SECONDS)
    assert "a call on a worker thread failed" in caplog.text
    assert type(error).__name__ in caplog.text


def test_a_serial_runs_calls_in_order_and_one_at_a_time() -> None:
    serial = Serial(Workers())
    ran: list[int] = []
    running = threading.Lock()
    overlaps: list[int] = []
    done = threading.Event()

    def call(number: int) -> None:
        if not running.acquire(blocking=False):
            overlaps.append(number)
            return
        ran.append(number)
        running.release()
        if number == 1_999:
            done.set()

    for number in range(2_000):
        serial.post(partial(call, number))
    assert done.wait(SECONDS)
    assert overlaps == []
    assert ran == list(range(2_000))


def test_a_serial_keeps_the_order_of_each_of_many_posters() -> None:
    serial = Serial(Workers(idle_seconds=0.001))
    ran: list[tuple[int, int]] = []
    counted = threading.Semaphore(0)

    def call(name: int, number: int) -> None:
        ran.append((name, number))
        counted.release()

    def post(name: int) -> None:
        for number in range(300):
            serial.post(partial(call, name, number))

    threads = [threading.Thread(target=post, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    assert all(counted.acquire(timeout=SECONDS) for _ in range(1_200))
    for thread in threads:
        thread.join(SECONDS)
    for name in range(4):
        assert [number for each, number in ran if each == name] == list(range(300))


def test_a_serial_that_blocks_does_not_stop_another_one() -> None:
    workers = Workers()
    release, done = threading.Event(), threading.Event()

    def block() -> None:
        release.wait(SECONDS)

    Serial(workers).post(block)
    Serial(workers).post(done.set)
    assert done.wait(SECONDS)
    release.set()


def test_a_call_may_post_to_its_own_serial() -> None:
    serial = Serial(Workers())
    ran: list[str] = []
    done = threading.Event()

    def inner() -> None:
        ran.append("inner")
        done.set()

    def first() -> None:
        serial.post(inner)
        ran.append("outer")

    serial.post(first)
    assert done.wait(SECONDS)
    assert ran == ["outer", "inner"]


def test_a_call_that_was_made_is_let_go() -> None:
    class Owner:
        def __init__(self) -> None:
            self.done = threading.Event()

        def call(self) -> None:
            self.done.set()

    workers = Workers()
    for submit in (workers.submit, Serial(workers).post):
        owner = Owner()
        held, called = weakref.ref(owner), owner.done
        submit(owner.call)
        assert called.wait(SECONDS)
        del owner
        following = threading.Event()
        submit(following.set)  # the thread is done with the first call when it takes another
        assert following.wait(SECONDS)
        gone = threading.Event()
        for _ in range(1_000):
            gc.collect()
            if held() is None:
                break
            gone.wait(0.01)
        assert held() is None
