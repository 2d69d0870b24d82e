"""The asyncio face: connecting, publishing, subscribing and closing, as coroutines see them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from pathlib import Path
from typing import Any

import pytest
from aio_support import HELD, Gate, Place, run
from client_support import BOTH, GOOD, WRONG, connects, seen

from iot_customauth_client import (
    AuthenticationRefused,
    ConfigurationError,
    ConnectionClosed,
    Credentials,
    InvalidTopic,
    Message,
    NotSupported,
    OperationTimeout,
    PolicyDenied,
    State,
    StateChange,
    aio,
)
from iot_customauth_client.local import events
from iot_customauth_client.outbox_sqlite import SqliteOutbox

pytest_plugins = ("aio_support", "client_support")


# -- connecting -------------------------------------------------------------------------------------------------------


@BOTH
def test_it_can_be_entered(protocol: str, here: Place) -> None:
    async def main() -> None:
        async with here.connect(protocol) as connection:
            assert isinstance(connection, aio.Connection)
            assert connection.state is State.CONNECTED
            assert connection.connected
            assert connection.native is not None
        assert connection.state is State.CLOSED

    run(main())


def test_it_can_be_awaited_and_closed(here: Place) -> None:
    async def main() -> None:
        connection = await here.connect()
        first, second = await asyncio.gather(connection.close(), connection.close())
        assert first == second
        await connection.wait_closed(1)

    run(main())


def test_it_gives_one_connection_only(here: Place) -> None:
    async def main() -> None:
        connecting = here.connect()
        async with connecting:
            with pytest.raises(RuntimeError, match="one connection"):
                await connecting

    run(main())


def test_one_that_is_never_awaited_is_warned_of(here: Place) -> None:
    with pytest.warns(RuntimeWarning, match="neither awaited nor entered"):
        del here.connect().__dict__["_connection"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": -1}, "timeout"),
        ({"credentials": 5}, "credentials"),
        ({"outbox": 5}, "outbox"),
        ({"client_id": ""}, "client_id"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_awaited(
    arguments: dict[str, Any], message: str, here: Place
) -> None:
    settings = here.endpoint.settings("device-1")

    async def main() -> None:
        connecting = aio.connect(settings, **({"credentials": GOOD} | arguments))
        with pytest.raises(ConfigurationError, match=message):
            await connecting

    run(main())


def test_a_refusal_is_raised_and_the_client_id_is_free_again(here: Place) -> None:
    async def main() -> None:
        with pytest.raises(AuthenticationRefused):
            await here.connect(credentials=WRONG)
        async with here.connect():
            pass

    run(main())


def test_a_client_id_that_is_open_already_is_refused(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            with pytest.raises(ConfigurationError, match="client id"):
                await here.connect()
            await connection.publish(f"open/{here.client_id}")

    run(main())


def test_a_cancelled_connect_can_connect_no_more_and_frees_the_client_id(here: Place, gate: Gate) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(_awaiting(here.connect(credentials=HELD)))
        await asyncio.to_thread(gate.asked.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with here.connect():
            gate.open()
        assert connects(here.endpoint, here.client_id) == 2

    run(main())


def test_with_a_timeout_of_0_it_returns_at_once_and_goes_on(here: Place, gate: Gate) -> None:
    async def main() -> None:
        async with here.connect(credentials=HELD, timeout=0) as connection:
            assert not connection.connected
            with pytest.raises(OperationTimeout):
                await connection.wait_connected(0.01)
            gate.open()
            await connection.wait_connected(10)
            assert connection.connected

    run(main())


def test_async_credentials_are_fetched_on_the_loop(here: Place) -> None:
    fetched_on: list[asyncio.AbstractEventLoop] = []

    async def fetch() -> Credentials:
        await asyncio.sleep(0)
        fetched_on.append(asyncio.get_running_loop())
        return GOOD

    async def main() -> None:
        async with here.connect(credentials=fetch):
            assert fetched_on == [asyncio.get_running_loop()]

    run(main())


def test_closing_cancels_credentials_that_are_being_fetched(here: Place) -> None:
    async def main() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def fetch() -> Credentials:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            raise AssertionError

        async with here.connect(credentials=fetch, timeout=0):
            await asyncio.wait_for(begun.wait(), 10)
        await asyncio.wait_for(cancelled.wait(), 10)

    run(main())


def test_changes_of_state_are_told_on_the_loop_in_order(here: Place) -> None:
    async def main() -> None:
        loop, told, slowly = asyncio.get_running_loop(), list[State](), list[State]()

        def plain(change: Any) -> None:
            assert asyncio.get_running_loop() is loop
            told.append(change.state)

        async def awaited(change: Any) -> None:
            await asyncio.sleep(0)
            slowly.append(change.state)

        async with here.connect(on_state_change=plain) as connection:
            connection.on_state_change(awaited)
            remove = connection.on_state_change(lambda _: told.clear())
            remove()
        assert told == [State.CONNECTING, State.CONNECTED, State.CLOSED]
        assert slowly == [State.CLOSED]

    run(main())


# -- publishing -------------------------------------------------------------------------------------------------------


@BOTH
def test_messages_arrive_in_the_order_of_the_calls(protocol: str, here: Place) -> None:
    topic = f"open/{here.client_id}"

    async def main() -> None:
        async with here.connect(protocol) as connection, connection.subscribe(topic) as messages:
            results = await asyncio.gather(*(connection.publish(topic, str(number)) for number in range(500)))
            assert {result.attempts for result in results} == {1}
            assert [(await messages.get(10)).text() for _ in range(500)] == [str(number) for number in range(500)]

    run(main())


def test_a_message_that_nobody_awaits_is_published(here: Place) -> None:
    topic = f"open/{here.client_id}"

    async def main() -> None:
        async with here.connect() as connection:
            connection.publish(topic, json={"counter": 1})
            await connection.flush(10)
        (arrived,) = seen(here.endpoint, events.Published, here.client_id)
        assert arrived.topic == topic

    run(main())


def test_closing_waits_for_what_was_published(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            futures = [connection.publish(f"open/{here.client_id}") for _ in range(200)]
        assert all(future.done() and future.result().reason_code in (0, 16) for future in futures)

    run(main())


def test_what_cannot_be_sent_is_raised_at_once(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            with pytest.raises(InvalidTopic):
                connection.publish("open/#")
            with pytest.raises(ConfigurationError):
                connection.publish("open/a", b"x", json=1)
        with pytest.raises(ConnectionClosed):
            connection.publish("open/a")

    run(main())


def test_a_refusal_of_a_message_is_raised_where_it_is_awaited(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            with pytest.raises(PolicyDenied) as caught:
                await connection.publish("closed/topic")
            assert caught.value.topic == "closed/topic"

    run(main())


def test_a_forgotten_failure_is_counted_and_not_logged_by_asyncio(
    here: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            connection.publish("closed/topic")
            await connection.flush(10)
            assert connection.stats().failed == 1
            await asyncio.sleep(0)
        gc.collect()

    run(main())
    assert "never retrieved" not in caplog.text


def test_a_message_not_sent_in_time_is_withdrawn(here: Place, gate: Gate) -> None:
    async def main() -> None:
        async with here.connect(credentials=HELD, timeout=0) as connection:
            with pytest.raises(OperationTimeout) as caught:
                await connection.publish("open/a", "late", timeout=0.01)
            assert caught.value.stage == "queued"
            gate.open()
            await connection.publish("open/a", "good", timeout=30)
        assert len(seen(here.endpoint, events.Published, here.client_id)) == 1

    run(main())


def test_cancelling_withdraws_what_was_not_sent_and_nothing_else(here: Place, gate: Gate) -> None:
    async def main() -> None:
        async with here.connect(credentials=HELD, timeout=0) as connection:
            futures = [connection.publish(f"open/{number}") for number in range(6)]
            task = asyncio.ensure_future(_awaiting(futures[1]))
            await asyncio.sleep(0)
            assert futures[3].cancel()
            assert not futures[3].cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.open()
            await asyncio.gather(*(futures[number] for number in (0, 2, 4, 5)))
        arrived = [event.topic for event in seen(here.endpoint, events.Published, here.client_id)]
        assert arrived == ["open/0", "open/2", "open/4", "open/5"]

    run(main())


def test_cancelling_what_was_sent_ends_the_waiting_at_once_and_harms_nobody(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            futures = [connection.publish(f"open/{number}") for number in range(300)]
            for future in futures[::2]:
                assert future.cancel()
            await asyncio.gather(*futures[1::2])
            await connection.publish("open/last")

    run(main())


def test_flushing_has_a_time_limit(here: Place, gate: Gate) -> None:
    async def main() -> None:
        async with here.connect(credentials=HELD, timeout=0) as connection:
            future = connection.publish("open/a")
            with pytest.raises(OperationTimeout):
                await connection.flush(0.01)
            gate.open()
            await connection.flush(10)
            assert connection.stats().acknowledged == 1
            await future

    run(main())


def test_the_loop_turns_while_something_is_flushed_or_drained(here: Place, gate: Gate) -> None:
    async def main() -> None:
        async with here.connect(credentials=HELD, timeout=0) as connection:
            connection.publish("open/a")
            asyncio.get_running_loop().call_later(0.01, gate.open)  # never, if the loop stood still
            await connection.flush(3)

    run(main())


def test_a_message_can_be_awaited_until_it_is_stored(here: Place, gate: Gate, tmp_path: Path) -> None:
    async def main() -> None:
        async with here.connect(credentials=HELD, timeout=0, outbox=SqliteOutbox(tmp_path / "outbox.db")) as connection:
            future = connection.publish("open/a")
            await future.wait_stored(10)
            assert not future.done()
            with pytest.raises(NotSupported):
                await connection.publish("open/a", qos=0).wait_stored()
            gate.open()
            await future
            await future.wait_stored()

    run(main())


def test_what_is_kept_in_memory_is_never_stored(here: Place, gate: Gate) -> None:
    async def main() -> None:
        async with here.connect(credentials=HELD, timeout=0) as connection:
            future = connection.publish("open/a")
            with pytest.raises(NotSupported):
                await future.wait_stored()
            gate.open()
            await future

    run(main())


# -- requests ---------------------------------------------------------------------------------------------------------


@BOTH
def test_a_request_is_answered_by_plain_and_async_handlers(protocol: str, here: Place) -> None:
    async def main() -> None:
        async def later(message: Message) -> dict[str, str]:
            await asyncio.sleep(0)
            return {"to": message.text()}

        async with here.connect(protocol) as connection:
            await connection.respond("open/plain", lambda message: message.payload.upper()).wait_granted()
            await connection.respond("open/later", later).wait_granted()
            assert (await connection.request("open/plain", "a", timeout=10)).text() == "A"
            answers = await asyncio.gather(*(connection.request("open/later", str(n), timeout=10) for n in range(5)))
            assert [answer.json() for answer in answers] == [{"to": str(number)} for number in range(5)]

    run(main())


def test_a_request_without_an_answer_times_out_and_one_that_is_cancelled_is_over(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:
            with pytest.raises(OperationTimeout):
                await connection.request("open/nobody", timeout=0.05)
            task = asyncio.ensure_future(connection.request("open/nobody", timeout=None))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await connection.publish("open/a")

    run(main())


# -- closing ----------------------------------------------------------------------------------------------------------


def test_a_cancelled_close_ends_the_connection_without_draining(here: Place, gate: Gate) -> None:
    async def main() -> None:
        connection = await here.connect(credentials=HELD, timeout=0)
        future = connection.publish("open/a")
        task = asyncio.ensure_future(connection.close(timeout=None))
        await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ConnectionClosed):
            await future
        await connection.wait_closed(10)

    run(main())


def test_leaving_by_an_exception_does_not_drain(here: Place, gate: Gate) -> None:
    async def main() -> None:
        future = None
        with contextlib.suppress(KeyError):
            async with here.connect(credentials=HELD, timeout=0) as connection:
                future = connection.publish("open/a")
                raise KeyError
        assert future is not None
        with pytest.raises(ConnectionClosed):
            await future

    run(main())


def test_a_running_handler_may_finish_and_one_that_does_not_is_cancelled(
    here: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        begun, ended = asyncio.Event(), list[str]()

        async def patient(_: Message) -> None:
            begun.set()
            await asyncio.sleep(0.05)
            ended.append("finished")

        async def stubborn(_: Message) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        async with here.connect() as connection:
            await connection.subscribe("open/patient", patient).wait_granted()
            await connection.publish("open/patient")
            await asyncio.wait_for(begun.wait(), 10)
        assert ended == ["finished"]
        connection = await here.connect(session_expiry_seconds=0)
        await connection.subscribe("open/stubborn", stubborn).wait_granted()
        await connection.publish("open/stubborn")
        await connection.close(timeout=0.3)
        assert ended == ["finished", "cancelled"]

    with caplog.at_level(logging.ERROR):
        run(main())
    assert not [record for record in caplog.records if not record.name.startswith("awscrt")]  # other tests' clients


def test_a_handler_may_close_the_connection(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:

            async def last(_: Message) -> None:
                await connection.close()

            await connection.subscribe("open/last", last).wait_granted()
            await connection.publish("open/last")
            await connection.wait_closed(10)

    run(main())


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable


def test_a_callback_that_listens_twice_is_removed_once(here: Place) -> None:
    async def main() -> None:
        told = list[StateChange]()
        listen = told.append

        async with here.connect() as connection:
            connection.on_state_change(listen)
            connection.on_state_change(listen)()
        assert [change.state for change in told] == [State.CLOSED]

    run(main())
