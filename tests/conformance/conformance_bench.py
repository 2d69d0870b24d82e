"""A bench for MQTT conformance: clients that speak packet by packet to one local endpoint, over real TLS sockets.

A test never waits for time to pass. To know that nothing comes, a client sends PINGREQ: the endpoint handles packets
in the order in which they arrive, so whatever it had for the client comes before PINGRESP. Time that counts (sessions,
message expiry, delayed wills) is a clock that the test moves.

What this must never do: hide a packet. Packets that a call does not ask for wait for the next call.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from itertools import count
from typing import TypeVar

import pytest
from mqtt_wire import WireClient

from iot_customauth_client.clock import ManualClock
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    Property,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Version,
    Will,
    encode,
)

V5 = Version.MQTT5
V311 = Version.MQTT311
EITHER = pytest.mark.parametrize("version", [V5, V311], ids=["mqtt5", "mqtt311"])
LIMIT_SECONDS = 20
"""How long a socket may be silent before a test fails. Generous: nothing here waits for it."""
NOTHING: Properties = {}
PacketT = TypeVar("PacketT")


def authorize(event: object, context: object) -> dict[str, object]:
    """Let everybody do everything, but for names that say what may not be done."""
    refusals = {
        "iot:Connect": "client/no-connect*",
        "iot:Publish": "topic/no-publish/*",
        "iot:Subscribe": "topicfilter/no-subscribe/*",
        "iot:Receive": "topic/no-receive/*",
    }
    statements: list[dict[str, object]] = [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]
    statements += [
        {"Effect": "Deny", "Action": action, "Resource": f"arn:aws:iot:*:*:{resource}"}
        for action, resource in refusals.items()
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    return {"isAuthenticated": True, "principalId": "p", "policyDocuments": [document]}


class Peer:
    """One client. `connack` is what it was answered."""

    def __init__(self, bench: Bench, version: Version) -> None:
        self.version = version
        self.client_id = ""
        self.connack: ConnAck | None = None
        self._bench = bench
        self._wire = WireClient(bench.endpoint, version, timeout=LIMIT_SECONDS)
        # Else a second small write waits for the TCP acknowledgement of the first.
        self._wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._aside: deque[Packet | None] = deque()
        self._packet_ids = count(1)

    # -- packets as they are ---------------------------------------------------------------------------------------

    def send(self, *packets: Packet) -> None:
        self._wire.send(*packets)

    def send_bytes(self, data: bytes) -> None:
        self._wire.send_bytes(data)

    def receive(self) -> Packet | None:
        """The next packet; None when the endpoint has hung up."""
        return self._aside.popleft() if self._aside else self._wire.receive()

    def expect(self, kind: type[PacketT]) -> PacketT:
        """The next packet of this kind; others wait for their call."""
        others: deque[Packet | None] = deque()
        while not isinstance(packet := self.receive(), kind):
            others.append(packet)
            assert packet is not None, f"hung up on while it waited for {kind.__name__}: {others}"
        self._aside.extendleft(reversed(others))
        return packet

    # -- what a client does ----------------------------------------------------------------------------------------

    def connect(
        self,
        client_id: str | None = None,
        *,
        clean_start: bool = True,
        keep_alive: int = 60,
        will: Will | None = None,
        properties: Properties = NOTHING,
    ) -> Packet | None:
        """Send CONNECT; returns the answer."""
        self.client_id = self._bench.name("c") if client_id is None else client_id
        self.send(Connect(self.version, self.client_id, clean_start, keep_alive, None, None, will, properties))
        return self.receive()

    def subscribe(
        self, *topic_filters: str | SubscribeRequest, qos: int = 1, properties: Properties = NOTHING
    ) -> tuple[int, ...]:
        """Subscribe; returns the codes of the SUBACK."""
        requests = tuple(SubscribeRequest(each, qos) if isinstance(each, str) else each for each in topic_filters)
        packet_id = next(self._packet_ids)
        self.send(Subscribe(packet_id, requests, properties))
        answer = self.expect(SubAck)
        assert answer.packet_id == packet_id
        return answer.reason_codes

    def unsubscribe(self, *topic_filters: str) -> tuple[int, ...]:
        """Unsubscribe; returns the codes of the UNSUBACK."""
        packet_id = next(self._packet_ids)
        self.send(Unsubscribe(packet_id, topic_filters))
        answer = self.expect(UnsubAck)
        assert answer.packet_id == packet_id
        return answer.reason_codes

    def publish(
        self,
        topic: str,
        payload: bytes = b"x",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties = NOTHING,
    ) -> PubAck | None:
        """Publish, and return when the endpoint has taken it; with the PUBACK, if it has one."""
        packet_id = next(self._packet_ids) if qos else None
        self.send(Publish(topic, payload, qos, retain, False, packet_id, properties))
        if packet_id is None:
            self.ping()
            return None
        answer = self.expect(PubAck)
        assert answer.packet_id == packet_id
        return answer

    def ping(self) -> None:
        """Return when the endpoint has handled everything that was sent before."""
        self.send(PingReq())
        self.expect(PingResp)

    def messages(self, *, acknowledge: bool = True) -> list[Publish]:
        """All messages that the endpoint has for this client."""
        found: list[Publish] = []
        while True:
            self.ping()
            new = [packet for packet in self._aside if isinstance(packet, Publish)]
            self._aside = deque(packet for packet in self._aside if not isinstance(packet, Publish))
            found += new
            if acknowledge:
                self.send(*(PubAck(each.packet_id) for each in new if each.packet_id is not None))
            if not new or not acknowledge:
                return found

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages()]

    def message(self) -> Publish:
        """The one message that the endpoint has for this client."""
        (message,) = self.messages()
        return message

    # -- how it ends -----------------------------------------------------------------------------------------------

    def leave(self, reason_code: int = 0, properties: Properties = NOTHING) -> None:
        """Send DISCONNECT, and return when the endpoint has taken it and hung up."""
        self.send(Disconnect(reason_code, properties))
        assert self.receive() is None

    def vanish(self) -> None:
        """End the TCP connection without a word, and return when the endpoint has noticed."""
        before = self._bench.endpoint.events.last_sequence
        self._wire.close()
        self._bench.endpoint.wait_for(
            events.Disconnected, after=before, timeout=LIMIT_SECONDS, client_id=self.client_id
        )

    def end(self) -> int | None:
        """The reason code of the endpoint's DISCONNECT; None if it hung up without a word."""
        packet = self.receive()
        if packet is None:
            return None
        assert isinstance(packet, Disconnect), packet
        assert self.receive() is None  # MQTT-3.14.4-1, MQTT-4.13.2-1: nothing follows but the end
        return packet.reason_code

    def close(self) -> None:
        self._wire.close()


class Bench:
    """Clients of one endpoint, closed at the end of a test. Names are never used twice, so nothing leaks to another."""

    _numbers = count(1)

    def __init__(self, endpoint: LocalEndpoint, clock: ManualClock) -> None:
        self.endpoint = endpoint
        self.clock = clock
        self._stack = contextlib.ExitStack()

    def name(self, prefix: str = "t") -> str:
        """A new name: of a topic, or of a client."""
        return f"{prefix}{next(Bench._numbers)}"

    def peer(self, version: Version = V5) -> Peer:
        """A TLS connection on which nothing was said."""
        return self._stack.enter_context(contextlib.closing(Peer(self, version)))

    def client(
        self,
        version: Version = V5,
        client_id: str | None = None,
        *,
        clean_start: bool = True,
        keep_alive: int = 60,
        will: Will | None = None,
        properties: Properties = NOTHING,
    ) -> Peer:
        """A client that was let in."""
        peer = self.peer(version)
        answer = peer.connect(
            client_id, clean_start=clean_start, keep_alive=keep_alive, will=will, properties=properties
        )
        assert isinstance(answer, ConnAck), answer
        assert answer.reason_code == 0
        peer.connack = answer
        return peer

    def keeper(self, version: Version, client_id: str | None = None, *, clean_start: bool = False) -> Peer:
        """A client with a session that outlives its connection, resumed if there is one."""
        expiry: Properties = {Property.SESSION_EXPIRY_INTERVAL: 3_600} if version is V5 else {}
        return self.client(version, client_id, clean_start=clean_start, properties=expiry)

    def close(self) -> None:
        self._stack.close()


def text(value: str | bytes) -> bytes:
    """A string as MQTT writes it, well-formed or not."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def raw(first: int, body: bytes = b"") -> bytes:
    """A packet with this first byte, whatever is in it; for bodies below 128 bytes."""
    assert len(body) < 128
    return bytes((first, len(body))) + body


def raw_connect(
    version: Version, *, name: str = "MQTT", level: int | None = None, flags: int = 2, rest: bytes
) -> bytes:
    """A CONNECT with these flags; `rest` is its payload, client id and all."""
    properties = b"\0" if version is V5 else b""
    head = text(name) + bytes((int(version) if level is None else level, flags)) + b"\0\x3c" + properties
    return raw(0x10, head + rest)


def raw_publish(version: Version, topic: str | bytes, *, flags: int = 0, after: bytes = b"") -> bytes:
    """A PUBLISH; `after` comes behind the topic, properties of MQTT 5 included (none, by default)."""
    return raw(0x30 | flags, text(topic) + (after or (b"\0" if version is V5 else b"")))


def size(packet: Packet, version: Version) -> int:
    """How many bytes a packet has."""
    return len(encode(packet, version))
