"""What asyncio costs: publishing and receiving against raw awscrt and aiomqtt, side by side.

A private mosquitto over TLS on loopback. *Publish*: 128 bytes, QoS 1, 500 at a time; raw awscrt from a thread with a
semaphore of 500, ours and aiomqtt with 500 tasks that await one message after the other. *Receive*: `mosquitto_pub`
floods a topic; raw awscrt counts in its callback, the others iterate. The clients take turns, round by round, so that a
busy machine disturbs all alike. Printed are medians of messages a second, and of the ratios within a round; and how
long one awaited publish takes. Usage: scripts/bench aio [rounds] [messages]
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import trustme
from awscrt import mqtt5

from iot_customauth_client import ConnectionBuilder, ConnectionSettings, Credentials, Message, aio

PAYLOAD = b"x" * 128
AT_ONCE = 500
ROUNDS_OF_ONE = 300
CREDENTIALS = Credentials.from_password("bench", "bench", authorizer="none")
Run = Callable[["Broker", int], Awaitable[float]]
"""Handles so many messages and returns how many a second."""


@dataclass(frozen=True)
class Broker:
    """Where mosquitto listens, and who vouches for it."""

    port: int
    ca_file: Path

    def settings(self, client_id: str) -> ConnectionSettings:
        return ConnectionSettings(
            endpoint="localhost", port=self.port, client_id=client_id, ca_file=self.ca_file, session_expiry_seconds=0
        )

    def flood(self, qos: int, count: int) -> subprocess.Popen[bytes]:
        """Begin to publish so many messages to `flood`."""
        command = [_program("mosquitto_pub"), "-h", "localhost", "-p", str(self.port), "--cafile", str(self.ca_file)]
        flood = subprocess.Popen([*command, "-t", "flood", "-q", str(qos), "-l"], stdin=subprocess.PIPE)
        assert flood.stdin is not None
        stdin, lines = flood.stdin, (PAYLOAD + b"\n") * count
        threading.Thread(target=lambda: (stdin.write(lines), stdin.close())).start()
        return flood


@contextlib.contextmanager
def mosquitto() -> Iterator[Broker]:
    """A broker on loopback that holds nothing back."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        certificate = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(str(place / "ca.pem"))
        certificate.private_key_pem.write_to_path(str(place / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(place / "cert.pem"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # "user root": else, started by root, it gives up the right to read its files; others may not care.
        (place / "mosquitto.conf").write_text(
            f"user root\nlistener {port} 127.0.0.1\ncertfile {place}/cert.pem\nkeyfile {place}/key.pem\n"
            "allow_anonymous true\nset_tcp_nodelay true\nlog_type none\n"
            "max_inflight_messages 0\nmax_queued_messages 0\n"
        )
        broker = subprocess.Popen([_program("mosquitto"), "-c", str(place / "mosquitto.conf")])
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield Broker(port, place / "ca.pem")
        finally:
            broker.terminate()
            broker.wait()


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        raise SystemExit(f"this needs {name} (apt-get install mosquitto mosquitto-clients)")
    return found


# -- raw awscrt -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def raw_client(broker: Broker, client_id: str, **callbacks: Any) -> Iterator[mqtt5.Client]:
    up, down = threading.Event(), threading.Event()
    client = ConnectionBuilder(broker.settings(client_id), CREDENTIALS).mqtt5(
        on_lifecycle_event_connection_success_fn=lambda _: up.set(),
        on_lifecycle_event_stopped_fn=lambda _: down.set(),
        **callbacks,
    )
    client.start()
    assert up.wait(10)
    try:
        yield client
    finally:
        client.stop()
        assert down.wait(10)


def raw_publishes(broker: Broker, count: int) -> float:
    with raw_client(broker, "raw-publisher") as client:
        room, qos = threading.Semaphore(AT_ONCE), mqtt5.QoS.AT_LEAST_ONCE
        began = time.perf_counter()
        for _ in range(count):
            room.acquire()
            client.publish(mqtt5.PublishPacket(topic="out", payload=PAYLOAD, qos=qos)).add_done_callback(
                lambda _: room.release()
            )
        for _ in range(AT_ONCE):
            room.acquire()
        return count / (time.perf_counter() - began)


def raw_receives(qos: int) -> Callable[[Broker, int], float]:
    def receive(broker: Broker, count: int) -> float:
        meter, all_there = Meter(count), threading.Event()

        def received(_: Any) -> None:
            if meter.count():
                all_there.set()

        with raw_client(broker, "raw-receiver", on_publish_callback_fn=received) as client:
            wish = mqtt5.Subscription(topic_filter="flood", qos=mqtt5.QoS(qos))
            client.subscribe(mqtt5.SubscribePacket(subscriptions=[wish])).result(10)
            with broker.flood(qos, count):
                assert all_there.wait(60)
        return meter.rate

    return receive


def in_thread(run: Callable[[Broker, int], float]) -> Run:
    return lambda broker, count: asyncio.to_thread(run, broker, count)


class Meter:
    """Counts messages and takes the time from the first to the last."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self._expected = expected
        self._began = self._ended = 0.0

    def count(self) -> bool:
        """Note a message; return whether it was the last."""
        if self.left == self._expected:
            self._began = time.perf_counter()
        self.left -= 1
        if self.left:
            return False
        self._ended = time.perf_counter()
        return True

    @property
    def rate(self) -> float:
        return self._expected / (self._ended - self._began)


# -- ours and aiomqtt -------------------------------------------------------------------------------------------------


async def ours_publishes(broker: Broker, count: int) -> float:
    async with aio.connect(broker.settings("our-publisher"), credentials=CREDENTIALS) as connection:
        return await with_tasks(count, lambda: connection.publish("out", PAYLOAD))


async def ours_alone(broker: Broker, _: int) -> float:
    async with aio.connect(broker.settings("our-publisher"), credentials=CREDENTIALS) as connection:
        return await one_by_one(lambda: connection.publish("out", PAYLOAD))


def ours_iterates(qos: int) -> Run:
    async def receive(broker: Broker, count: int) -> float:
        meter = Meter(count)
        async with (
            aio.connect(broker.settings("our-receiver"), credentials=CREDENTIALS) as connection,
            connection.subscribe("flood", qos=qos, max_queued=count) as messages,
        ):
            with broker.flood(qos, count):
                async for _ in messages:
                    if meter.count():
                        return meter.rate
        raise AssertionError

    return receive


def ours_handles(qos: int) -> Run:
    async def receive(broker: Broker, count: int) -> float:
        meter, all_there = Meter(count), asyncio.Event()

        async def handle(_: Message) -> None:
            if meter.count():
                all_there.set()

        async with aio.connect(broker.settings("our-receiver"), credentials=CREDENTIALS) as connection:
            await connection.subscribe("flood", handle, qos=qos, max_queued=count).wait_granted()
            with broker.flood(qos, count):
                await asyncio.wait_for(all_there.wait(), 60)
        return meter.rate

    return receive


@contextlib.asynccontextmanager
async def aiomqtt_client(broker: Broker, client_id: str) -> AsyncIterator[aiomqtt.Client]:
    context = ssl.create_default_context(cafile=str(broker.ca_file))
    async with aiomqtt.Client(
        "localhost",
        broker.port,
        identifier=client_id,
        tls_context=context,
        protocol=aiomqtt.ProtocolVersion.V5,
        max_inflight_messages=AT_ONCE,
        max_concurrent_outgoing_calls=2 * AT_ONCE,
    ) as client:
        client.pending_calls_threshold = 2 * AT_ONCE  # or it warns
        yield client


async def aiomqtt_publishes(broker: Broker, count: int) -> float:
    async with aiomqtt_client(broker, "their-publisher") as client:
        return await with_tasks(count, lambda: client.publish("out", PAYLOAD, qos=1, timeout=60))


async def aiomqtt_alone(broker: Broker, _: int) -> float:
    async with aiomqtt_client(broker, "their-publisher") as client:
        return await one_by_one(lambda: client.publish("out", PAYLOAD, qos=1, timeout=60))


def aiomqtt_iterates(qos: int) -> Run:
    async def receive(broker: Broker, count: int) -> float:
        meter = Meter(count)
        async with aiomqtt_client(broker, "their-receiver") as client:
            await client.subscribe("flood", qos=qos)
            with broker.flood(qos, count):
                async for _ in client.messages:
                    if meter.count():
                        return meter.rate
        raise AssertionError

    return receive


async def with_tasks(count: int, publish: Callable[[], Awaitable[object]]) -> float:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await publish()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return count / (time.perf_counter() - began)


async def one_by_one(publish: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(ROUNDS_OF_ONE):
        began = time.perf_counter()
        await publish()
        times.append(time.perf_counter() - began)
    times.sort()
    print(f"    p50 {times[len(times) // 2] * 1e3:.2f} ms, p99 {times[len(times) * 99 // 100] * 1e3:.2f} ms")
    return ROUNDS_OF_ONE / sum(times)


# -- the tables -------------------------------------------------------------------------------------------------------

TABLES: dict[str, dict[str, Run]] = {
    "publish QoS 1": {"raw": in_thread(raw_publishes), "ours": ours_publishes, "aiomqtt": aiomqtt_publishes},
    "receive QoS 0": {
        "raw": in_thread(raw_receives(0)),
        "ours, iterator": ours_iterates(0),
        "ours, handler": ours_handles(0),
        "aiomqtt": aiomqtt_iterates(0),
    },
    "receive QoS 1": {
        "raw": in_thread(raw_receives(1)),
        "ours, iterator": ours_iterates(1),
        "ours, handler": ours_handles(1),
        "aiomqtt": aiomqtt_iterates(1),
    },
    "one awaited publish after the other": {"ours": ours_alone, "aiomqtt": aiomqtt_alone},
}


def main(rounds: int = 5, messages: int = 10_000, only: str = "") -> None:
    with mosquitto() as broker:
        for title, runs in TABLES.items():
            if only not in title:
                continue
            print(title)
            rates: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds):
                for name, run in runs.items():
                    rates[name].append(asyncio.run(run(broker, messages)))
            for name, own in rates.items():
                against = [
                    f"{statistics.median(a / b for a, b in zip(own, rates[other], strict=True)):.2f}x {other}"
                    for other in ("raw", "aiomqtt")
                    if other in rates and other != name
                ]
                print(f"  {name:16} {statistics.median(own):8.0f} a second  {', '.join(against)}", flush=True)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3]), *sys.argv[3:4])
