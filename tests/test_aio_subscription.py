"""Subscriptions of the asyncio face: iterators, handlers, and messages that no cancellation loses."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aio_support import Place, run
from client_support import BOTH, GOOD
from depth import examples
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from iot_customauth_client import (
    ConfigurationError,
    ConnectionClosed,
    ConnectionSettings,
    Message,
    OperationTimeout,
    PolicyDenied,
    aio,
)
from iot_customauth_client.aio_core import Core
from iot_customauth_client.opening import outbox_of
from iot_customauth_client.runtime import runtime
from iot_customauth_client.shared_credentials import source_of

pytest_plugins = ("aio_support", "client_support")


@BOTH
def test_it_iterates_and_ends_when_the_connection_is_closed(protocol: str, here: Place) -> None:
    async def main() -> None:
        async with here.connect(protocol) as connection:
            messages = connection.subscribe("open/a/+")
            assert await messages.wait_granted() == 1
            assert messages.granted_qos == 1
            texts = list[str]()

            async def read() -> None:
                async for message in messages:
                    texts.append(message.text())

            reading = asyncio.ensure_future(read())
            await asyncio.gather(*(connection.publish(f"open/a/{number}", str(number)) for number in range(20)))
        await reading
        assert texts == [str(number) for number in range(20)]
        with pytest.raises(ConnectionClosed):
            await messages.get()

    run(main())


def test_a_refusal_is_raised_when_it_is_entered(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            with pytest.raises(PolicyDenied):
                async with connection.subscribe("closed/#"):
                    pass
            with pytest.raises(PolicyDenied):
                await anext(connection.subscribe("closed/#"))

    run(main())


def test_getting_has_a_time_limit(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection, connection.subscribe("open/a") as messages:
            with pytest.raises(OperationTimeout):
                await messages.get(0.01)
            connection.publish("open/a", "x")
            assert (await messages.get(10)).text() == "x"

    run(main())


@pytest.mark.parametrize("late", [True, False])
def test_a_message_that_comes_as_its_waiter_is_cancelled_goes_to_the_next(late: bool, here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection, connection.subscribe("open/a") as messages:
            first, second = (asyncio.ensure_future(messages.get()) for _ in range(2))
            await asyncio.sleep(0)
            messages.deliver(Message("open/a", b"x"))
            if late:  # woken, but not run yet
                asyncio.get_running_loop().call_soon(first.cancel)
            else:
                first.cancel()
            assert (await asyncio.wait_for(second, 5)).payload == b"x"
            with pytest.raises(asyncio.CancelledError):
                await first

    run(main())


@hypothesis_settings(max_examples=examples(300))
@given(st.lists(st.sampled_from(["deliver", "get", "step", "step"]) | st.integers(0, 5), max_size=40))
@example(["get", "get", "step", "deliver", "step", 0])  # cancelled when it was woken, before it ran
@example(["get", "get", "step", "deliver", "step", "step", "step", "deliver"])  # comes while another one waits
def test_whatever_is_cancelled_every_message_is_handed_over_once(steps: list[str | int]) -> None:
    async def main() -> None:
        messages = _unconnected()
        getters, delivered = list[asyncio.Task[Message]](), 0
        for step in steps:
            if step == "deliver":
                messages.deliver(Message("a", str(delivered).encode()))
                delivered += 1
            elif step == "get":
                getters.append(asyncio.ensure_future(messages.get()))
            elif step == "step":
                await asyncio.sleep(0)
            elif isinstance(step, int) and step < len(getters):
                getters[step].cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        done = [each for each in getters if each.done() and not each.cancelled()]
        waiting = [each for each in getters if not each.done()]
        taken = sorted(int(each.result().payload) for each in done)
        if waiting:
            assert len(taken) == delivered
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        rest = [int((await messages.get(1)).payload) for _ in range(delivered - len(taken))]
        assert sorted(taken + rest) == list(range(delivered))
        assert rest == sorted(rest)

    run(main())


def test_reading_what_is_there_lets_other_tasks_have_their_turn() -> None:
    async def main() -> None:
        messages, turns = _unconnected(max_queued=100_000), 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        while turns < 3:  # as long as it takes, but never a wait
            for _ in range(1_000):
                messages.deliver(Message("a", b""))
            for _ in range(1_000):
                await messages.get()
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)

    run(main())


def test_the_oldest_of_too_many_qos_0_messages_are_dropped_and_counted() -> None:
    async def main() -> None:
        messages = _unconnected(max_queued=5)
        for number in range(8):
            messages.deliver(Message("a", str(number).encode()))
        assert [(await messages.get()).text() for _ in range(5)] == ["3", "4", "5", "6", "7"]
        assert messages.dropped == 3

    run(main())


# -- handlers ---------------------------------------------------------------------------------------------------------


def test_an_async_handler_has_one_message_at_a_time_in_order_and_may_publish(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            order, busy, done = list[str](), 0, asyncio.Event()

            async def handle(message: Message) -> None:
                nonlocal busy
                busy += 1
                assert busy == 1
                await connection.publish("open/answers", message.payload)
                busy -= 1
                order.append(message.text())
                if len(order) == 30:
                    done.set()

            await connection.subscribe("open/questions", handle).wait_granted()
            for number in range(30):
                connection.publish("open/questions", str(number))
            await asyncio.wait_for(done.wait(), 20)
            assert order == [str(number) for number in range(30)]

    run(main())


def test_a_handler_that_waits_delays_only_its_own_subscription(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            go_on, came = asyncio.Event(), asyncio.Event()

            async def slow(_: Message) -> None:
                await go_on.wait()

            await connection.subscribe("open/slow", slow).wait_granted()
            await connection.subscribe("open/quick", lambda _: came.set()).wait_granted()
            await connection.publish("open/slow")
            await connection.publish("open/quick")
            await asyncio.wait_for(came.wait(), 10)
            go_on.set()

    run(main())


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_handler_that_fails_is_logged_and_counted_and_the_next_message_comes(
    kind: str, here: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            done = asyncio.Event()

            def plain(message: Message) -> None:
                if message.text() == "bad":
                    raise ValueError("told by the handler")
                done.set()

            async def awaited(message: Message) -> None:
                plain(message)

            handler = plain if kind == "plain" else awaited
            await connection.subscribe("open/a", handler).wait_granted()
            connection.publish("open/a", "bad")
            connection.publish("open/a", "good")
            await asyncio.wait_for(done.wait(), 10)
            assert connection.stats().handler_errors == 1

    with caplog.at_level(logging.ERROR, "iot_customauth_client"):
        run(main())
    assert "told by the handler" in caplog.text


def test_closing_a_subscription_waits_for_its_handler_but_not_inside_it(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            begun, ended = asyncio.Event(), list[int]()

            async def handle(_: Message) -> None:
                begun.set()
                await asyncio.sleep(0.01)
                ended.append(1)

            subscription = connection.subscribe("open/a", handle)
            await subscription.wait_granted()
            await connection.publish("open/a")
            await asyncio.wait_for(begun.wait(), 10)
            await subscription.close()
            assert ended == [1]

            closed = asyncio.Event()

            async def close(_: Message) -> None:
                await itself.close()
                closed.set()

            itself = connection.subscribe("open/b", close)
            await itself.wait_granted()
            await connection.publish("open/b")
            await asyncio.wait_for(closed.wait(), 10)

    run(main())


def test_tasks_that_share_an_iterator_leave_nothing_unacknowledged(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            messages = connection.subscribe("open/a")
            await messages.wait_granted()

            async def take() -> None:
                while (await messages.get(10)).payload:
                    pass

            tasks = [asyncio.create_task(take()) for _ in range(3)]
            for number in range(300):
                connection.publish("open/a", b"%d" % number)
            for _ in tasks:
                connection.publish("open/a")
            await asyncio.gather(*tasks)
            messages.close()
            assert connection.stats().unacknowledged_received == 0

    run(main())


def test_a_subscription_with_a_handler_cannot_be_read(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            with pytest.raises(TypeError):
                await connection.subscribe("open/a", print).get()
            with pytest.raises(TypeError):
                connection.subscribe("open/a", 5)  # type: ignore[arg-type]
            with pytest.raises(ConfigurationError):
                connection.subscribe("open/a", max_queued=0)

    run(main())


def _unconnected(max_queued: int = 1_000) -> aio.Subscription:
    """A subscription of a connection that was never started, on the running loop."""
    settings = ConnectionSettings(endpoint="localhost", client_id="unconnected")
    core = Core(asyncio.get_running_loop(), runtime(), settings, source_of(GOOD), outbox=outbox_of(None), clock=None)
    return aio.Subscription(core, "a", handler=None, ack="auto", max_queued=max_queued, on_handler_error="acknowledge")
