"""The asyncio face and its event loop: never blocked, never shared, and survived."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from aio_support import Place, run
from client_support import BOTH, PASSWORD, USER, Farewell

from iot_customauth_client import ConfigurationError, aio

pytest_plugins = ("aio_support", "client_support")

WHOLE_LIFE = Path(__file__).parent / "aio_whole_life.py"


# -- nothing blocks it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["audit", "imports", "outbox"])
@BOTH
def test_the_loop_never_does_what_may_block(check: str, protocol: str, here: Place, tmp_path: Path) -> None:
    """In a process of its own: an audit hook cannot be taken out again, and the imports must be fresh ones."""
    arguments = [protocol, str(here.endpoint.port), str(here.endpoint.ca_file), here.client_id, USER, PASSWORD]
    done = subprocess.run(
        [sys.executable, str(WHOLE_LIFE), check, str(tmp_path), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["connected", "published", "received", "answered", "renewed", "closed"]


# -- it belongs to one loop -------------------------------------------------------------------------------------------


def test_another_thread_or_loop_is_turned_away_and_the_connection_goes_on(here: Place) -> None:
    async def main() -> None:
        async with here.connect() as connection:

            async def elsewhere() -> None:
                with pytest.raises(ConfigurationError) as caught:
                    await connection.flush()
                assert caught.value.code == "wrong_event_loop"

            def in_thread() -> None:
                with pytest.raises(ConfigurationError) as caught:
                    connection.publish("open/a")
                assert caught.value.code == "wrong_event_loop"
                assert connection.connected
                asyncio.run(elsewhere())

            await asyncio.to_thread(in_thread)
            await connection.publish("open/a")

    run(main())


def test_several_loops_in_several_threads_work_at_once(here: Place) -> None:
    everybody = threading.Barrier(4)
    failures = list[BaseException]()

    async def one(number: int) -> None:
        client_id, topic = f"{here.client_id}-{number}", f"open/{here.client_id}/{number}"
        async with here.connect(client_id=client_id) as connection, connection.subscribe(topic) as messages:
            await asyncio.to_thread(everybody.wait, 20)
            futures = [connection.publish(topic, str(each)) for each in range(200)]
            assert [(await messages.get(20)).text() for _ in futures] == [str(each) for each in range(200)]
            await asyncio.gather(*futures)
            await asyncio.to_thread(everybody.wait, 20)

    def thread(number: int) -> None:
        try:
            run(one(number))
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)
            everybody.abort()

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(50)
    assert not failures


# -- it outlives the loop ---------------------------------------------------------------------------------------------


@BOTH
def test_a_loop_closed_under_it_ends_the_connection_without_an_error_elsewhere(protocol: str, here: Place) -> None:
    loop = asyncio.new_event_loop()
    topic = f"open/{here.client_id}"

    async def begin() -> tuple[aio.Connection, aio.Subscription]:
        connection = await here.connect(protocol)
        messages = connection.subscribe(topic)
        await messages.wait_granted()
        connection.publish(topic, "never awaited")
        await messages.get(10)
        waiting = asyncio.ensure_future(messages.get())
        await asyncio.sleep(0)
        waiting.cancel()
        return connection, messages

    connection, messages = loop.run_until_complete(begin())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    messages._wanted = True  # as if its task had been waiting when the loop was closed
    here.endpoint.publish(topic, b"to nobody")
    here.endpoint.wait_for("disconnected", client_id=here.client_id, timeout=10)
    assert connection.last_error is None


def test_one_that_is_dropped_is_collected(here: Place) -> None:
    async def main() -> Farewell:
        connection = await here.connect()
        await connection.publish("open/a")
        farewell = Farewell(connection._core)
        del connection
        return farewell

    farewell = run(main())
    farewell.wait()
