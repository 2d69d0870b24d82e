"""MQTT 5 clients that cost next to nothing: for measuring what a broker can do, not what a client can.

All packets of a run have one size, so nothing is parsed: what came is counted by its length, packet identifiers are
cut out of a burst by slices, and the PUBACKs for it are made in one go. One thread drives all clients with epoll.
Never for anything but measuring: a broker that answers in any other form is an error here.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PAYLOAD_BYTES = 128
WAIT_SECONDS = 120.0
_CHUNK = 262_144


@dataclass(frozen=True)
class Broker:
    """Where to connect. `ca_file` None: plain TCP."""

    port: int
    ca_file: Path | None
    username: str = ""

    def context(self) -> ssl.SSLContext | None:
        if self.ca_file is None:
            return None
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.set_alpn_protocols(["mqtt"])
        return context


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _frame(first: int, body: bytes) -> bytes:
    length, header = len(body), bytearray((first,))
    while length >= 0x80:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header) + body


def connect_packet(client_id: str, username: str) -> bytes:
    """CONNECT of MQTT 5 with clean start and a keep alive of 1,200 s."""
    tail = _text(username) + _text("word") if username else b""
    flags = 0xC2 if username else 0x02
    return _frame(0x10, b"\0\4MQTT\5" + bytes((flags,)) + (1_200).to_bytes(2, "big") + b"\0" + _text(client_id) + tail)


def subscribe_packet(topic: str, qos: int) -> bytes:
    return _frame(0x82, b"\0\1\0" + _text(topic) + bytes((qos,)))


def publish_packet(topic: str, qos: int, packet_id: int = 1) -> bytes:
    number = packet_id.to_bytes(2, "big") if qos else b""
    return _frame(0x30 | qos << 1, _text(topic) + number + b"\0" + b"x" * PAYLOAD_BYTES)


class Client:
    """One connection, made and let in by blocking calls, then non-blocking for `Crowd`."""

    def __init__(self, broker: Broker, context: ssl.SSLContext | None, client_id: str) -> None:
        plain = socket.create_connection(("127.0.0.1", broker.port), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = plain if context is None else context.wrap_socket(plain, server_hostname="localhost")
        self.socket.sendall(connect_packet(client_id, broker.username))
        answer = self._packet()
        if answer[0] != 0x20 or answer[3] != 0:
            raise SystemExit(f"CONNECT was refused: {answer.hex()}")
        self.unsent = b""
        self.take: Callable[[bytes], None] = _nothing_expected

    def subscribe(self, topic: str, qos: int) -> None:
        self.socket.sendall(subscribe_packet(topic, qos))
        answer = self._packet()
        if answer[0] != 0x90 or answer[-1] != qos:
            raise SystemExit(f"SUBSCRIBE was refused: {answer.hex()}")

    def _packet(self) -> bytes:
        """Read one packet with a remaining length below 128, byte for byte correct, in the blocking phase."""
        data = b""
        while len(data) < 2 or len(data) < 2 + data[1]:
            more = self.socket.recv(_CHUNK)
            if not more:
                raise SystemExit("the broker hung up")
            data += more
        return data

    def send(self, data: bytes) -> None:
        """Send now what the socket takes, and the rest when it takes more."""
        self.unsent += data
        self.push()

    def push(self) -> None:
        while self.unsent:
            try:
                sent = self.socket.send(self.unsent)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            self.unsent = self.unsent[sent:]

    def pull(self) -> None:
        """Take all that is there."""
        while True:
            try:
                data = self.socket.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not data:
                raise SystemExit("the broker hung up")
            self.take(data)

    def close(self) -> None:
        self.socket.close()


def _nothing_expected(data: bytes) -> None:
    raise SystemExit(f"not expected: {data[:20].hex()}")


class Crowd:
    """Clients that are driven together, in the thread that calls `drive`."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._poll = select.epoll()
        self._clients = {client.socket.fileno(): client for client in clients}
        for number, client in self._clients.items():
            client.socket.setblocking(False)
            self._poll.register(number, select.EPOLLIN)

    def drive(self, done: Callable[[], bool]) -> None:
        """Go on until `done`."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not done():
            for number, _ in self._poll.poll(0.05):
                self._clients[number].pull()
            for client in self._clients.values() if any(each.unsent for each in self._clients.values()) else ():
                client.push()
            if time.monotonic() > deadline:
                raise SystemExit("the broker did not deliver everything in time")

    def close(self) -> None:
        self._poll.close()
        for client in self._clients.values():
            client.socket.setblocking(True)


class Subscriber:
    """Counts what comes for one client, and acknowledges QoS 1."""

    def __init__(self, client: Client, topic: str, qos: int) -> None:
        self._client = client
        self._size = len(publish_packet(topic, qos))
        self._first = 0x30 | qos << 1
        self._id_at = 2 + (self._size > 129) + 2 + len(topic) if qos else 0
        self._rest = b""
        self.received = 0
        client.subscribe(topic, qos)
        client.take = self._take

    def _take(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        size = self._size
        count = len(data) // size
        end = count * size
        self._rest = data[end:]
        if not count:
            return
        if data[0] != self._first or data[end - size] != self._first:
            raise SystemExit(f"not the PUBLISH that was expected: {data[:20].hex()}")
        self.received += count
        if self._id_at:
            acknowledgements = bytearray(b"\x40\x02\0\0" * count)
            acknowledgements[2::4] = data[self._id_at : end : size]
            acknowledgements[3::4] = data[self._id_at + 1 : end : size]
            self._client.send(bytes(acknowledgements))


class Publisher:
    """Publishes bursts from one client; whoever knows what has arrived tells it to `go_on`."""

    def __init__(self, client: Client, topic: str, qos: int, *, count: int, burst: int) -> None:
        self._client = client
        self._qos = qos
        self._count = count
        self._burst = burst
        self.sent = 0
        self.acknowledged = 0
        self._bytes = 0
        client.take = self._take
        cycle = [publish_packet(topic, qos, number) for number in range(1, 2 * burst + 1)]
        self._bursts = (b"".join(cycle[:burst]), b"".join(cycle[burst:]))

    def _take(self, data: bytes) -> None:
        self._bytes += len(data)
        self.acknowledged = self._bytes // 4

    def go_on(self, arrived: int) -> None:
        """Send bursts while less than two are under way."""
        while self.sent < self._count and self.sent - arrived <= self._burst:
            self._client.send(self._bursts[self.sent // self._burst % 2])
            self.sent += self._burst

    @property
    def done(self) -> bool:
        return self.sent >= self._count and (not self._qos or self.acknowledged >= self._count)
