"""Publishing over HTTPS from asyncio: the same answers, and a loop and a connection that nothing harms."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from client_support import WAIT
from door_servers import FORBIDDEN, HttpDoor, Reply, Seen

from iot_customauth_client import (
    AuthenticationRefused,
    ConfigurationError,
    ConnectionClosed,
    Credentials,
    EndpointUnreachable,
    HttpsResult,
    OperationTimeout,
    aio,
)

pytest_plugins = ("door_servers",)

BEARER = Credentials.from_bearer_token("token", token_key_name="Token-Key", authorizer="gate")
T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def arrived(door: HttpDoor) -> None:
    """Wait, off the loop, until the server has a message."""
    await asyncio.to_thread(door.wait, lambda: len(door.publishes()) > 0)


@pytest.mark.parametrize("place", ["headers", "query"])
def test_a_message_arrives_and_the_answer_is_awaited(place: Any, door: HttpDoor) -> None:
    async def main() -> HttpsResult:
        async with aio.HttpsPublisher(door.settings(), BEARER) as publisher:
            return await publisher.publish("a/b", json=[1], credentials_in=place, user_properties=[("k", "v")])

    assert run(main()) == HttpsResult("11111111-2222-3333-4444-555555555555", 200)
    (seen,) = door.publishes()
    assert (seen.path.path, seen.body) == ("/topics/a%2Fb", b"[1]")
    assert (seen.headers if place == "headers" else seen.path).get("Token-Key") == "token"
    door.wait(lambda: door.open == 0)


def test_messages_awaited_together_go_out_in_the_order_of_the_calls_on_one_connection(door: HttpDoor) -> None:
    async def main() -> None:
        async with aio.HttpsPublisher(door.settings(), BEARER) as publisher:
            await asyncio.gather(*(publisher.publish("t", str(number)) for number in range(50)))

    run(main())
    assert [seen.body for seen in door.publishes()] == [str(number).encode() for number in range(50)]
    assert door.accepted == 1


def test_a_refusal_is_the_same_error_as_from_threads(door: HttpDoor) -> None:
    door.answer = lambda _seen: Reply(status=403, body=FORBIDDEN)

    async def main() -> None:
        async with aio.HttpsPublisher(door.settings(), BEARER) as publisher:
            with pytest.raises(AuthenticationRefused) as caught:
                await publisher.publish("t")
            assert (caught.value.reason_code, caught.value.trace_id) == (403, "99999999-aaaa-bbbb-cccc-dddddddddddd")

    run(main())


def test_cancelling_a_message_that_was_sent_leaves_the_connection_to_the_next_one(door: HttpDoor) -> None:
    later = threading.Event()

    def first_waits(seen: Seen) -> Reply:
        return Reply(delay=later if seen.body == b"1" else None, body=b'{"traceId":"%b"}' % seen.body)

    door.answer = first_waits

    async def main() -> None:
        async with aio.HttpsPublisher(door.settings(), BEARER) as publisher:
            first = asyncio.create_task(publisher.publish("t", b"1"))
            await arrived(door)
            second = asyncio.create_task(publisher.publish("t", b"2"))
            third = asyncio.create_task(publisher.publish("t", b"3"))
            await asyncio.sleep(0)
            first.cancel()
            second.cancel()
            await asyncio.wait([first, second])
            assert first.cancelled()
            assert second.cancelled()
            later.set()
            assert (await third).trace_id == "3"

    run(main())
    assert [seen.body for seen in door.publishes()] == [b"1", b"3"]  # the second was withdrawn in time
    assert door.accepted == 1


def test_a_message_cancelled_while_dialling_is_not_sent_and_the_dial_serves_the_next_one(door: HttpDoor) -> None:
    async def main() -> None:
        async with aio.HttpsPublisher(door.settings(), BEARER) as publisher:
            with door.handshakes_held():
                first = asyncio.create_task(publisher.publish("t", b"1"))
                await asyncio.sleep(0)
                first.cancel()
                await asyncio.wait([first])
            await publisher.publish("t", b"2")

    run(main())
    assert [seen.body for seen in door.publishes()] == [b"2"]


def test_a_timeout_says_whether_the_message_was_sent(door: HttpDoor) -> None:
    never = threading.Event()
    door.answer = lambda _seen: Reply(delay=never)

    async def main() -> None:
        async with aio.HttpsPublisher(door.settings(), BEARER) as publisher:
            with pytest.raises(OperationTimeout) as caught:
                await publisher.publish("t", timeout=0.3)
            assert caught.value.stage == "sent"
            door.answer = lambda _seen: Reply()
            await publisher.publish("t")

    run(main())
    never.set()


def test_neither_dialling_nor_closing_holds_the_loop_up(
    door: HttpDoor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A CA file on a slow disk, and an endpoint that does not answer while it is closed.
    read, opened, never = Path.read_bytes, threading.Event(), threading.Event()
    slow = tmp_path / "slow.pem"
    slow.write_bytes(door.ca_file.read_bytes())

    def read_slowly(path: Path) -> bytes:
        if path == slow:
            assert threading.current_thread() is not threading.main_thread()
            opened.wait(WAIT)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_slowly)
    door.answer = lambda _seen: Reply(delay=never)

    async def main() -> None:
        publisher = aio.HttpsPublisher(door.settings(ca_file=slow), BEARER)
        task = asyncio.create_task(publisher.publish("t"))
        for _ in range(30):
            await asyncio.sleep(0.001)  # the loop goes on while the file is being opened
        opened.set()
        await arrived(door)
        closing = asyncio.create_task(publisher.close(timeout=0.2))
        ticks = 0
        while not closing.done():
            ticks += 1
            await asyncio.sleep(0.005)
        assert ticks > 2  # the loop went on meanwhile
        with pytest.raises(ConnectionClosed):
            await task

    run(main())
    never.set()


def test_a_publisher_belongs_to_one_loop(door: HttpDoor) -> None:
    publisher = aio.HttpsPublisher(door.settings(), BEARER)
    run(publisher.publish("t"))
    with pytest.raises(ConfigurationError, match="another event loop"):
        run(publisher.publish("t"))
    run(publisher.close())


def test_a_loop_that_ends_while_a_message_is_under_way_leaves_no_noise(door: HttpDoor) -> None:
    later = threading.Event()
    door.answer = lambda _seen: Reply(delay=later)
    publisher = aio.HttpsPublisher(door.settings(), BEARER)

    async def main() -> None:
        task = asyncio.create_task(publisher.publish("t"))
        await arrived(door)
        task.cancel()

    run(main())
    later.set()
    run(publisher.close())
    door.wait(lambda: door.open == 0)


def test_an_endpoint_that_is_away_raises(door_ca_file: Path, door: HttpDoor) -> None:
    settings = door.settings(endpoint="nowhere.invalid")

    async def main() -> None:
        async with aio.HttpsPublisher(settings, BEARER) as publisher:
            with pytest.raises(EndpointUnreachable):
                await publisher.publish("t")

    run(main())


def test_the_module_names_what_it_has_and_nothing_else() -> None:
    assert {"HttpsPublisher", "HttpsResult"} < set(aio.__all__)
    assert dir(aio) == aio.__all__
    assert all(hasattr(aio, name) for name in aio.__all__)
    with pytest.raises(AttributeError):
        _ = aio.connekt
