"""The kinds of hostile connection: each an `async def` that is given a `Target` and a random generator.

A kind opens one connection, does its harm, and goes away, mostly without a farewell. It is bounded in bytes and in
time, and whatever the endpoint does to it is fine: only what that does to others matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from iot_customauth_client.local.codec import (
    Connect,
    Property,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    Will,
    encode,
)

RETAINED_TOPICS: Final = tuple(f"hostile/retained/{number}" for number in range(50))
"""All that is ever retained, so that it can be taken away again."""
_PATIENCE_SECONDS = 1.0
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Target:
    """Where the endpoint is, and how to trust it."""

    port: int
    mqtt: ssl.SSLContext
    http: ssl.SSLContext


class Line:
    """One connection, with TLS or without."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, target: Target, context: ssl.SSLContext | None = None) -> Line:
        name = None if context is None else "localhost"
        return cls(*await asyncio.open_connection("127.0.0.1", target.port, ssl=context, server_hostname=name))

    async def send(self, data: bytes) -> None:
        """Send, for as long as the peer reads."""
        self.writer.write(data)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self.writer.drain()

    async def trickle(self, data: bytes, pieces: int) -> None:
        """Send a few single bytes with pauses."""
        for at in range(min(pieces, len(data))):
            await self.send(data[at : at + 1])
            await asyncio.sleep(0.01)

    async def read_some(self) -> bytes:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self.reader.read(65536)
        except TimeoutError:
            return b""

    def vanish(self, rng: random.Random) -> None:
        """End: by a reset, by closing, or by an abort in the middle."""
        if rng.random() < 0.4:
            raw = self.writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()


Kind: TypeAlias = Callable[[Target, random.Random], Awaitable[None]]
Harm: TypeAlias = Callable[[Line, random.Random], Awaitable[None]]


def _hello(target: Target) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = target.mqtt.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def _connect(rng: random.Random, *, password: bytes = b"pass01") -> bytes:
    version = rng.choice((Version.MQTT5, Version.MQTT311))
    return encode(Connect(version, f"hostile-{rng.randrange(300)}", True, 30, "u", password), version)


async def _over(target: Target, rng: random.Random, context: ssl.SSLContext | None, harm: Harm) -> None:
    line = await Line.open(target, context)
    try:
        await harm(line, rng)
    finally:
        line.vanish(rng)


# -- before TLS -------------------------------------------------------------------------------------------------------


async def garbage(target: Target, rng: random.Random) -> None:
    """Any bytes, of any length."""

    async def harm(line: Line, rng: random.Random) -> None:
        await line.send(rng.randbytes(rng.choice((0, 1, 5, 100, 20_000))))
        await line.read_some()

    await _over(target, rng, None, harm)


async def broken_hello(target: Target, rng: random.Random) -> None:
    """A ClientHello with some bytes changed, or cut off, or a byte at a time, or of endless length."""
    hello = bytearray(_hello(target))

    async def harm(line: Line, rng: random.Random) -> None:
        way = rng.randrange(4)
        if way == 0:
            for _ in range(rng.randrange(1, 6)):
                hello[rng.randrange(len(hello))] = rng.randrange(256)
            await line.send(bytes(hello))
        elif way == 1:
            await line.send(bytes(hello[: rng.randrange(1, len(hello))]))
            await asyncio.sleep(rng.random() * 0.3)
        elif way == 2:
            await line.trickle(bytes(hello), rng.randrange(1, 30))
        else:
            await line.send(b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff" + bytes(16380))
            await line.send(b"\x16\x03\x01\x40\x00" + bytes(16384))
        await line.read_some()

    await _over(target, rng, None, harm)


async def plain_http(target: Target, rng: random.Random) -> None:
    """HTTP without TLS: a proxy request, a head that never ends."""

    async def harm(line: Line, rng: random.Random) -> None:
        head = rng.choice((b"CONNECT localhost:443 HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", b"CONNECT x:1 HTTP/9\r\n"))
        await line.send(head + b"a: b\r\n" * rng.choice((0, 10, 5_000)) + rng.choice((b"", b"\r\n")))
        await line.read_some()

    await _over(target, rng, None, harm)


# -- inside TLS, before CONNACK ---------------------------------------------------------------------------------------


async def wrong_mqtt(target: Target, rng: random.Random) -> None:
    """After the handshake: nothing, garbage, HTTP, a CONNECT of 300 kB, of 256 MiB, a half one."""

    async def harm(line: Line, rng: random.Random) -> None:
        good = _connect(rng)
        await line.send(
            rng.choice(
                (
                    b"",
                    rng.randbytes(200),
                    b"GET / HTTP/1.1\r\n\r\n",
                    b"\x10\xe0\xa7\x12\x00\x04MQTT\x05" + bytes(300_000),
                    b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05",
                    good[: rng.randrange(len(good))],
                    good + good,
                    b"\xc0\x00" * 5_000,
                )
            )
        )
        await line.read_some()

    await _over(target, rng, target.mqtt, harm)


async def wrong_password(target: Target, rng: random.Random) -> None:
    """A CONNECT that the authorizer refuses, with packets sent ahead; sometimes gone before the answer."""

    async def harm(line: Line, rng: random.Random) -> None:
        await line.send(_connect(rng, password=b"wrong") + b"\xc0\x00" * rng.choice((0, 1, 50_000)))
        if rng.random() < 0.5:
            await line.read_some()

    await _over(target, rng, target.mqtt, harm)


async def wrong_http(target: Target, rng: random.Random) -> None:
    """Heads without end, bodies that are too large, chunks of a byte, requests by the hundred and no reading."""
    post = b"POST /topics/hostile HTTP/1.1\r\nHost: localhost\r\n"

    async def harm(line: Line, rng: random.Random) -> None:
        await line.send(
            rng.choice(
                (
                    rng.randbytes(300),
                    post + b"".join(b"h%x: v\r\n" % number for number in range(8_000)),
                    post + b"Content-Length: 99999999999\r\n\r\n",
                    post + b"Content-Length: 100\r\n\r\nhalf",
                    post + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;" + b"e" * 300 + b"\r\nx\r\n" * 100,
                    post + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
                    post + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"t: r\r\n" * 5_000,
                    b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300,
                    b"POST /topics/a?" + b"&".join(b"%x=y" % n for n in range(5_000)) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
                )
            )
        )
        await line.read_some()

    await _over(target, rng, target.http, harm)


# -- WebSocket --------------------------------------------------------------------------------------------------------

_UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def _frame(payload: bytes, first: int = 0x82) -> bytes:
    size = len(payload)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


async def wrong_websocket(target: Target, rng: random.Random) -> None:
    """Empty frames, pings, text, frames without end, unmasked ones, fragments; before CONNECT or after CONNACK."""

    async def harm(line: Line, rng: random.Random) -> None:
        await line.send(_UPGRADE)
        await line.read_some()
        if rng.random() < 0.5:
            await line.send(_frame(_connect(rng)))
            await line.read_some()
        await line.send(
            rng.choice(
                (
                    _frame(b"") * 10_000,
                    _frame(b"x" * 100, 0x89) * 2_000,
                    _frame(b"text", 0x81),
                    b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + bytes(5_000),
                    b"\x82\x04abcd",
                    _frame(b"", 0x02) + _frame(b"", 0x00) * 10_000,
                    _frame(b"\xc0", 0x02) + _frame(b"\x00", 0x00) * 3_000,
                    rng.randbytes(500),
                    _frame(b"\x03\xe8", 0x88) * 100,
                )
            )
        )
        await line.read_some()

    await _over(target, rng, target.http, harm)


# -- after CONNACK ----------------------------------------------------------------------------------------------------


def _let_in(harm: Harm, *, will: Will | None = None, session_expiry_seconds: int = 0) -> Kind:
    """A client that its authorizer lets in, and that does harm then."""

    async def kind(target: Target, rng: random.Random) -> None:
        async def connected(line: Line, rng: random.Random) -> None:
            properties = {Property.SESSION_EXPIRY_INTERVAL: session_expiry_seconds}
            client_id = f"hostile-{rng.randrange(300)}"
            packet = Connect(Version.MQTT5, client_id, True, 30, "u", b"pass01", will, properties)
            await line.send(encode(packet, Version.MQTT5))
            await line.read_some()
            await harm(line, rng)

        await _over(target, rng, target.mqtt, connected)

    return kind


def _packets(*packets: Publish | Subscribe) -> bytes:
    return b"".join(encode(packet, Version.MQTT5) for packet in packets)


async def _flood_pings(line: Line, rng: random.Random) -> None:
    await line.send(b"\xc0\x00" * rng.choice((10, 100_000)))


async def _half_packet(line: Line, rng: random.Random) -> None:
    whole = _packets(Publish("hostile/half", bytes(1_000), 1, packet_id=1))
    await line.send(whole[: rng.randrange(1, len(whole))])
    await asyncio.sleep(rng.random() * 0.2)


async def _broken_packet(line: Line, rng: random.Random) -> None:
    whole = bytearray(_packets(Publish("hostile/broken", bytes(50), 1, packet_id=1)))
    for _ in range(rng.randrange(1, 4)):
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    await line.send(bytes(whole) + rng.randbytes(rng.randrange(50)))
    await line.read_some()


async def _subscribe_deep(line: Line, rng: random.Random) -> None:
    """Fifty filters of eight levels, all of which take the same topic, and a message for them."""
    patterns = rng.sample(range(256), 52)
    filters = ["/".join("+" if bits >> level & 1 else "h" for level in range(8)) for bits in patterns]
    for at in range(0, 50, 8):
        requests = tuple(SubscribeRequest(each, 1) for each in filters[at : at + 8])
        await line.send(_packets(Subscribe(at + 1, requests)))
    await line.send(_packets(*[Publish("h/h/h/h/h/h/h/h", b"x" * 500, 1, packet_id=n) for n in range(1, 5)]))
    if rng.random() < 0.5:
        await line.read_some()


async def _storm(line: Line, rng: random.Random) -> None:
    """Messages to itself, of which it reads none and acknowledges none."""
    await line.send(_packets(Subscribe(1, (SubscribeRequest("hostile/storm", 1),))))
    qos = rng.randrange(2)
    for _ in range(4):
        messages = [Publish("hostile/storm", bytes(10_000), qos, packet_id=n + 1 if qos else None) for n in range(25)]
        await line.send(_packets(*messages))


async def _retain(line: Line, rng: random.Random) -> None:
    await line.send(
        _packets(*[Publish(rng.choice(RETAINED_TOPICS), rng.randbytes(200), 0, retain=True) for _ in range(200)])
    )


async def _many_topics(line: Line, rng: random.Random) -> None:
    """Topics that nobody subscribed to, aliases, and user properties by the thousand."""
    pairs = (("", ""),) * rng.choice((1, 900, 20_000))
    messages = [Publish(f"hostile/{rng.random()}", b"x", 0) for _ in range(500)]
    aliased = [Publish(f"hostile/{n}", b"x", 0, properties={Property.TOPIC_ALIAS: n % 8 + 1}) for n in range(100)]
    decorated = Publish("hostile/u", b"", 0, properties={Property.USER_PROPERTY: pairs})
    await line.send(_packets(*messages, *aliased, decorated))


KINDS: Final[tuple[Kind, ...]] = (
    garbage,
    broken_hello,
    plain_http,
    wrong_mqtt,
    wrong_password,
    wrong_http,
    wrong_websocket,
    _let_in(_flood_pings),
    _let_in(_half_packet, session_expiry_seconds=1),
    _let_in(_broken_packet, will=Will("hostile/will", b"gone", 1)),
    _let_in(_subscribe_deep, session_expiry_seconds=1),
    _let_in(_storm),
    _let_in(_retain),
    _let_in(_many_topics),
)
