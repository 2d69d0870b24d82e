"""A broker with pretended transports: carries out its effects, and checks what must hold for every effect.

Each packet that the broker sends is encoded, as the endpoint would; nothing may be sent to a connection after its
`HangUp`, and no client may ever have more unacknowledged messages than its window.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from iot_customauth_client.authorizer.policy_document import PolicyDocument
from iot_customauth_client.local.broker import Broker, Effect, Grant, HangUp, Happened, Send
from iot_customauth_client.local.codec import (
    Connect,
    Disconnect,
    Packet,
    Property,
    PubAck,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    encode,
)
from iot_customauth_client.local.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

REGION = "eu-west-1"
ACCOUNT = "123456789012"
ARN = f"arn:aws:iot:{REGION}:{ACCOUNT}:"
EVERYTHING = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}

V5 = Version.MQTT5
V311 = Version.MQTT311
EventT = TypeVar("EventT", bound=Event)
PacketT = TypeVar("PacketT")


def statement(effect: str, action: str, *resources: str) -> dict[str, object]:
    """A statement about resources such as `topic/a` in the driver's region and account."""
    return {"Effect": effect, "Action": action, "Resource": [ARN + resource for resource in resources]}


def everything_but(action: str, *resources: str) -> list[dict[str, object]]:
    return [EVERYTHING, statement("Deny", action, *resources)]


class Driver:
    def __init__(self, broker: Broker | None = None) -> None:
        numbers = count(1)
        self.broker = broker or Broker(region=REGION, account=ACCOUNT, new_uuid=lambda: f"uuid-{next(numbers)}")
        self.now = 1_000.0
        self.events: list[Event] = []
        self.hung_up: set[int] = set()
        self.versions: dict[int, Version] = {}
        self.windows: dict[int, int] = {}
        self.unacknowledged: defaultdict[int, set[int]] = defaultdict(set)
        self._sent: defaultdict[int, list[Packet]] = defaultdict(list)

    # -- what clients do ----------------------------------------------------------------------------------------------

    def connect(
        self,
        number: int,
        packet: Connect | None = None,
        *,
        version: Version = V5,
        client_id: str | None = None,
        policy: Iterable[dict[str, object]] = (EVERYTHING,),
        source_ip: str | None = "192.0.2.1",
    ) -> list[Packet]:
        packet = packet or Connect(version, client_id or f"client-{number}", keep_alive_seconds=60)
        document = PolicyDocument.parse({"Version": "2012-10-17", "Statement": list(policy)})
        self.versions[number] = packet.version
        asked = packet.properties.get(Property.RECEIVE_MAXIMUM, 65_535)
        self.windows[number] = min(100, asked) if isinstance(asked, int) else 100
        grant = Grant("principal", (document,), source_ip)
        return self.carry_out(self.broker.connect(number, packet, grant, now=self.now), number)

    def receive(self, number: int, packet: Packet) -> list[Packet]:
        """Let a client send a packet; returns what the broker sent to this client."""
        if isinstance(packet, PubAck):
            self.unacknowledged[number].discard(packet.packet_id)
        return self.carry_out(self.broker.receive(number, packet, now=self.now), number)

    def subscribe(self, number: int, *topic_filters: str, qos: int = 1) -> list[Packet]:
        requests = tuple(SubscribeRequest(topic_filter, qos) for topic_filter in topic_filters)
        return self.receive(number, Subscribe(7, requests))

    def publish(self, number: int, topic: str, payload: bytes = b"x", *, qos: int = 0, retain: bool = False) -> None:
        self.receive(number, Publish(topic, payload, qos, retain, packet_id=9 if qos else None))

    def close(self, number: int) -> None:
        """The transport has ended."""
        self.hung_up.add(number)
        self.carry_out(self.broker.closed(number, now=self.now), number)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def carry_out(self, effects: list[Effect], number: int = 0) -> list[Packet]:
        """Carry the effects out; returns what was sent to one connection."""
        sent: list[Packet] = []
        for effect in effects:
            match effect:
                case Send(connection, packet):
                    self._check_sent(connection, packet)
                    self._sent[connection].append(packet)
                    if connection == number:
                        sent.append(packet)
                case HangUp(connection):
                    assert connection not in self.hung_up
                    self.hung_up.add(connection)
                case Happened(event):
                    self.events.append(event)
        return sent

    def _check_sent(self, connection: int, packet: Packet) -> None:
        assert connection not in self.hung_up, f"{packet} was sent on a connection that was hung up"
        encode(packet, self.versions[connection])
        if isinstance(packet, Publish) and packet.packet_id is not None:
            waiting = self.unacknowledged[connection]
            assert packet.packet_id not in waiting
            waiting.add(packet.packet_id)
            assert len(waiting) <= self.windows[connection]

    def received(self, number: int) -> list[Publish]:
        """Take the messages that a client got since the last call."""
        messages = [packet for packet in self._sent[number] if isinstance(packet, Publish)]
        self._sent[number].clear()
        return messages

    def topics(self, number: int) -> list[str]:
        return [message.topic for message in self.received(number)]

    def disconnects(self, number: int) -> list[int]:
        return [packet.reason_code for packet in self._sent[number] if isinstance(packet, Disconnect)]

    def of(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[EventT]) -> EventT:
        return self.of(kind)[-1]


def only(packets: list[Packet], kind: type[PacketT]) -> PacketT:
    """The one packet of this kind."""
    (packet,) = [packet for packet in packets if isinstance(packet, kind)]
    return packet
