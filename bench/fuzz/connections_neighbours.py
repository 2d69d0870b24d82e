"""Well-behaved neighbours: each publishes and receives all the time, and counts what it has lost.

One round trip after the other: a number is published with QoS 1, and the next one waits until it has come back. So a
message that is lost is a neighbour that stands still, which is a failure after `ROUND_TRIP_SECONDS`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TypeVar

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, Event, Request

from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Decoder,
    Packet,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Version,
    encode,
)

from .connections_kinds import Line, Target

ROUND_TRIP_SECONDS = 30.0
"""A neighbour that waits for longer than this counts as not served."""
_PAUSE_SECONDS = 0.02

PacketT = TypeVar("PacketT", bound=Packet)


class Neighbour:
    """One client, over TLS or in a WebSocket; `https` also publishes by HTTPS what it then receives by MQTT."""

    def __init__(self, name: str, *, websocket: bool = False, https: bool = False) -> None:
        self.name = name
        self.round_trips = 0
        self.slowest_seconds = 0.0
        self.wrong: list[str] = []
        self._websocket = WSConnection(ConnectionType.CLIENT) if websocket else None
        self._https = https
        self._decoder = Decoder(version=Version.MQTT5)
        self._packets: list[Packet] = []
        self._line: Line | None = None
        self._web: Line | None = None
        self._target: Target | None = None

    async def start(self, target: Target) -> None:
        """Connect and subscribe."""
        self._target = target
        self._line = await Line.open(target, target.mqtt if self._websocket is None else target.http)
        if self._websocket is not None:
            await self._upgrade(self._websocket)
        await self._send(Connect(Version.MQTT5, self.name, True, 1_200, "u", b"pass01"))
        answer = await self._receive(ConnAck)
        if answer.reason_code:
            raise AssertionError(answer)
        await self._send(Subscribe(1, (SubscribeRequest(self._topic, 1),)))
        await self._receive(SubAck)

    async def run(self, stopping: asyncio.Event) -> None:
        """Go round until told to stop; what goes wrong ends it and is kept in `wrong`."""
        try:
            if self._https:
                assert self._target is not None
                self._web = await Line.open(self._target, self._target.http)
            for number in itertools.count(1):
                if stopping.is_set():
                    break
                begun = time.monotonic()
                async with asyncio.timeout(ROUND_TRIP_SECONDS):
                    await self._round_trip(number)
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - begun)
                self.round_trips += 1
                await asyncio.sleep(_PAUSE_SECONDS)
            if self._web is not None:
                self._web.writer.transport.abort()
        except TimeoutError:
            self.wrong.append(f"{self.name} was not served for {ROUND_TRIP_SECONDS:g} s")
        except (ConnectionError, EOFError, AssertionError) as error:
            self.wrong.append(f"{self.name}: {type(error).__name__}: {error}")

    def close(self) -> None:
        """Hang up."""
        for line in (self._line, self._web):
            if line is not None:
                line.writer.transport.abort()

    @property
    def _topic(self) -> str:
        return f"neighbour/{self.name}"

    async def _round_trip(self, number: int) -> None:
        payload = str(number).encode()
        if self._web is not None:
            await self._post(self._web, payload)
        else:
            await self._send(Publish(self._topic, payload, 1, packet_id=number % 65_535 + 1))
            await self._receive(PubAck)
        message = await self._receive(Publish)
        if message.payload != payload:
            raise AssertionError(f"{payload!r} was published and {message.payload!r} came")
        if message.packet_id is not None:
            await self._send(PubAck(message.packet_id))

    async def _post(self, web: Line, payload: bytes) -> None:
        head = f"POST /topics/{self._topic}?qos=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(payload)}\r\n\r\n"
        web.writer.write(head.encode() + payload)
        answer = await web.reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise AssertionError(answer)
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await web.reader.readexactly(int(length.partition(b":")[2]))

    async def _send(self, packet: Packet) -> None:
        assert self._line is not None
        data = encode(packet, Version.MQTT5)
        self._line.writer.write(data if self._websocket is None else self._websocket.send(BytesMessage(data)))
        await self._line.writer.drain()

    async def _receive(self, kind: type[PacketT]) -> PacketT:
        """The next packet of a kind; others that came before it are kept for later."""
        while True:
            for at, packet in enumerate(self._packets):
                if isinstance(packet, kind):
                    del self._packets[at]
                    return packet
            if self._websocket is None:
                self._packets += self._decoder.feed(await self._more())
                continue
            for event in await self._events(self._websocket):
                if isinstance(event, BytesMessage):
                    self._packets += self._decoder.feed(bytes(event.data))

    async def _upgrade(self, websocket: WSConnection) -> None:
        assert self._line is not None
        self._line.writer.write(websocket.send(Request(host="localhost", target="/mqtt", subprotocols=["mqtt"])))
        while not any(isinstance(event, AcceptConnection) for event in await self._events(websocket)):
            pass

    async def _events(self, websocket: WSConnection) -> list[Event]:
        assert self._line is not None
        websocket.receive_data(await self._more())
        return list(websocket.events())

    async def _more(self) -> bytes:
        assert self._line is not None
        data = await self._line.reader.read(65536)
        if not data:
            raise EOFError("the endpoint hung up")
        return data
