"""What receiving costs: iterator and handler against a bare awscrt callback that only counts, side by side.

A private mosquitto over TLS on loopback takes a flood of 128-byte messages from a process of its own; one client at a
time receives it. The variants take turns, round by round, so that a busy machine disturbs all alike. Printed are the
medians of messages a second, and of the ratios to the callback within a round; then the times of a lone command and its
reply, one after the other. Usage: scripts/bench receive [rounds] [messages]
"""

from __future__ import annotations

import contextlib
import getpass
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import trustme
from awscrt import io, mqtt5

from iot_customauth_client import Connection, ConnectionSettings, Credentials, Message, connect
from iot_customauth_client.local.codec import (
    Connect,
    Decoder,
    Packet,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    encode,
)

PAYLOAD = b"x" * 128
COMMANDS = 400
_BURST = 1_000
WAIT = 60.0
CREDENTIALS = Credentials.from_password("bench", "bench", authorizer="none")


@contextlib.contextmanager
def mosquitto() -> Iterator[tuple[int, int, Path]]:
    """A broker without limits on loopback; its ports with and without TLS, and its authority."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise SystemExit("this needs mosquitto (apt-get install mosquitto)")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        certificate = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(str(place / "ca.pem"))
        certificate.private_key_pem.write_to_path(str(place / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(place / "cert.pem"))
        with socket.socket() as free, socket.socket() as other:
            for each in (free, other):
                each.bind(("127.0.0.1", 0))
            port, plain = free.getsockname()[1], other.getsockname()[1]
        (place / "mosquitto.conf").write_text(
            f"listener {port} 127.0.0.1\ncertfile {place}/cert.pem\nkeyfile {place}/key.pem\nallow_anonymous true\n"
            f"listener {plain} 127.0.0.1\n"
            f"user {getpass.getuser()}\n"  # started by root, it would become somebody who cannot read the key
            "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type none\n"
        )
        broker = subprocess.Popen([program, "-c", str(place / "mosquitto.conf")], stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield port, plain, place / "ca.pem"
        finally:
            broker.terminate()
            broker.wait()


class Plain:
    """A client on a bare socket without TLS, with TCP_NODELAY: as little in the way as can be."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), WAIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = Decoder(version=Version.MQTT311)
        self.send(Connect(Version.MQTT311, f"plain-{uuid.uuid4().hex[:8]}"))
        self.receive()

    def send(self, packet: Packet) -> None:
        self._socket.sendall(encode(packet, Version.MQTT311))

    def receive(self) -> Sequence[Packet]:
        """Return what came with the next read."""
        packets: Sequence[Packet] = ()
        while not packets:
            packets = list(self._decoder.feed(self._socket.recv(65_536)))
        return packets

    def flood(self, topic: str, qos: int, count: int) -> None:
        ids = (number % 65_535 + 1 if qos else None for number in range(count))
        packets = [encode(Publish(topic, PAYLOAD, qos=qos, packet_id=each), Version.MQTT311) for each in ids]
        for start in range(0, count, _BURST):
            burst = packets[start : start + _BURST]
            self._socket.sendall(b"".join(burst))
            acknowledged = 0 if qos else len(burst)
            while acknowledged < len(burst):
                acknowledged += len(self.receive())


def flood(port: int, orders: Any) -> None:
    """Publish what is ordered, as fast as it goes; in a process of its own."""
    client = Plain(port)
    while (order := orders.get()) is not None:
        client.flood(*order)


class Raw:
    """A bare `awscrt.mqtt5.Client`."""

    def __init__(self, port: int, authorities: Path, name: str, received: Callable[[Any], object]) -> None:
        context = io.TlsContextOptions()
        context.override_default_trust_store(authorities.read_bytes())
        up = threading.Event()
        self._client = mqtt5.Client(
            mqtt5.ClientOptions(
                host_name="localhost",
                port=port,
                tls_ctx=io.ClientTlsContext(context),
                connect_options=mqtt5.ConnectPacket(client_id=f"{name}-{uuid.uuid4().hex[:8]}"),
                on_publish_callback_fn=received,
                on_lifecycle_event_connection_success_fn=lambda _: up.set(),
            )
        )
        self._client.start()
        if not up.wait(WAIT):
            raise SystemExit("the private mosquitto does not answer")

    def subscribe(self, topic: str, qos: int) -> None:
        wanted = mqtt5.Subscription(topic_filter=topic, qos=mqtt5.QoS(qos))
        self._client.subscribe(mqtt5.SubscribePacket(subscriptions=[wanted])).result(WAIT)

    def stop(self) -> None:
        self._client.stop()


class Place:
    """Where the variants run: the broker, and the process that floods."""

    def __init__(self, port: int, plain: int, authorities: Path, orders: Any) -> None:
        self.port = port
        self.plain = plain
        self.authorities = authorities
        self._orders = orders

    def flood(self, topic: str, qos: int, count: int) -> None:
        self._orders.put((topic, qos, count))

    def connect(self, protocol: str) -> Connection:
        settings = ConnectionSettings(
            endpoint="localhost",
            port=self.port,
            ca_file=self.authorities,
            client_id=f"ours-{uuid.uuid4().hex[:8]}",
            protocol=protocol,  # type: ignore[arg-type]
            session_expiry_seconds=0,
        )
        return connect(settings, credentials=CREDENTIALS)


class Stopwatch:
    """Counts to a number, from the first message to the last."""

    def __init__(self, count: int) -> None:
        self._left = self._count = count
        self._began = 0.0
        self._ended = 0.0
        self._complete = threading.Event()

    def __call__(self, _: object) -> None:
        left = self._left
        if left == self._count:
            self._began = time.perf_counter()
        self._left = left - 1
        if left == 1:
            self._ended = time.perf_counter()
            self._complete.set()

    def rate(self) -> float:
        if not self._complete.wait(WAIT):
            raise SystemExit(f"{self._left} of {self._count} messages did not arrive")
        return (self._count - 1) / (self._ended - self._began)


def callback(place: Place, qos: int, count: int) -> float:
    watch, topic = Stopwatch(count), f"bench/{uuid.uuid4().hex}"
    client = Raw(place.port, place.authorities, "raw", watch)
    client.subscribe(topic, qos)
    place.flood(topic, qos, count)
    rate = watch.rate()
    client.stop()
    return rate


def handler(place: Place, qos: int, count: int) -> float:
    watch, topic = Stopwatch(count), f"bench/{uuid.uuid4().hex}"
    with place.connect("mqtt5") as connection:
        connection.subscribe(topic, watch, qos=qos, max_queued=count).wait_granted(WAIT)
        place.flood(topic, qos, count)
        return watch.rate()


def iterator(place: Place, qos: int, count: int) -> float:
    watch, topic = Stopwatch(count), f"bench/{uuid.uuid4().hex}"
    with place.connect("mqtt5") as connection, connection.subscribe(topic, qos=qos, max_queued=count) as messages:
        place.flood(topic, qos, count)
        for _, message in zip(range(count), messages, strict=False):
            watch(message)
        return watch.rate()


VARIANTS: dict[str, Callable[[Place, int, int], float]] = {
    "callback": callback,
    "handler": handler,
    "iterator": iterator,
}


def command_and_reply(place: Place) -> list[float]:
    """Milliseconds from a command, sent over a bare socket, to the reply of our handler."""
    topic = f"bench/{uuid.uuid4().hex}"
    controller = Plain(place.plain)
    controller.send(Subscribe(1, (SubscribeRequest(f"{topic}/reply", 0),)))
    controller.receive()
    times = []

    def reply(message: Message) -> None:
        connection.publish(f"{topic}/reply", message.payload)

    with place.connect("mqtt5") as connection:
        connection.subscribe(topic, reply).wait_granted(WAIT)
        for number in range(COMMANDS):
            began = time.perf_counter()
            controller.send(Publish(topic, PAYLOAD, qos=1, packet_id=number + 1))
            while not any(isinstance(packet, Publish) for packet in controller.receive()):
                pass
            times.append((time.perf_counter() - began) * 1e3)
    return sorted(times)


def measure(place: Place, rounds: int, count: int) -> None:
    for qos in (0, 1):
        rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for receive in VARIANTS.values():  # warm
            receive(place, qos, 1_000)
        for _ in range(rounds):
            for name, receive in VARIANTS.items():
                rates[name].append(receive(place, qos, count))
        for name, measured in rates.items():
            ratios = [mine / raw for mine, raw in zip(measured, rates["callback"], strict=True)]
            print(
                f"QoS {qos} {name:10} {statistics.median(measured):9,.0f} msg/s   {statistics.median(ratios):5.2f} "
                f"of the callback ({min(ratios):.2f} to {max(ratios):.2f})"
            )
    for _ in range(3):
        times = command_and_reply(place)
        print(f"command -> reply: p50 {times[len(times) // 2]:.2f} ms, p99 {times[len(times) * 99 // 100]:.2f} ms")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    context = multiprocessing.get_context("spawn")
    with mosquitto() as (port, plain, authorities):
        orders: Any = context.Queue()
        publisher = context.Process(target=flood, args=(plain, orders), daemon=True)
        publisher.start()
        try:
            measure(Place(port, plain, authorities, orders), rounds, count)
        finally:
            orders.put(None)
            publisher.join(WAIT)


if __name__ == "__main__":
    main()
