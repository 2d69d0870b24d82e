"""A broker with pretended transports: carries out its effects, and checks what must hold for every effect.

Each packet that the broker sends is encoded, as the endpoint would; nothing may be sent to a connection after its
`HangUp`, no client may ever have more unacknowledged messages than its window, and none is sent a topic alias that it
does not know or does not take.

The two clocks read differently by far, so that a time of one that is used for the other is noticed.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from iot_customauth_client.authorizer.policy_document import PolicyDocument
from iot_customauth_client.local.broker import Broker, Effect, Grant, HangUp, Happened, Hold, Send
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


def grant(*statements: dict[str, object], source_ip: str | None = "192.0.2.1", life: int | None = None) -> Grant:
    """What the authorizer granted; everything, if no statement is given."""
    document = PolicyDocument.parse({"Version": "2012-10-17", "Statement": list(statements or (EVERYTHING,))})
    return Grant("principal", (document,), source_ip, life)


class Driver:
    def __init__(self, broker: Broker | None = None) -> None:
        numbers = count(1)
        self.broker = broker or Broker(region=REGION, account=ACCOUNT, new_uuid=lambda: f"uuid-{next(numbers)}")
        self.now = 1_000.0
        self.at = 5_000_000.0
        self.events: list[Event] = []
        self.hung_up: set[int] = set()
        self.versions: dict[int, Version] = {}
        self.windows: dict[int, int] = {}
        self.unacknowledged: defaultdict[int, dict[int, None]] = defaultdict(dict)
        self.holds: list[Hold] = []
        self._alias_maximum: dict[int, int] = {}
        self._aliases: defaultdict[int, dict[int, str]] = defaultdict(dict)
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
        life: int | None = None,
    ) -> list[Packet]:
        packet = packet or Connect(version, client_id or f"client-{number}", keep_alive_seconds=60)
        self.versions[number] = packet.version
        asked = packet.properties.get(Property.RECEIVE_MAXIMUM, 65_535)
        self.windows[number] = min(100, asked) if isinstance(asked, int) else 100
        asked = packet.properties.get(Property.TOPIC_ALIAS_MAXIMUM, 0)
        self._alias_maximum[number] = min(8, asked) if isinstance(asked, int) else 0
        given = grant(*policy, source_ip=source_ip, life=life)
        return self.carry_out(self.broker.connect(number, packet, given, now=self.now, at=self.at), number)

    def receive(self, number: int, packet: Packet) -> list[Packet]:
        """Let a client send a packet; returns what the broker sent to this client."""
        if isinstance(packet, PubAck):
            self.unacknowledged[number].pop(packet.packet_id, None)
        return self.carry_out(self.broker.receive(number, packet, now=self.now, at=self.at), number)

    def subscribe(self, number: int, *topic_filters: str, qos: int = 1) -> list[Packet]:
        requests = tuple(SubscribeRequest(topic_filter, qos) for topic_filter in topic_filters)
        return self.receive(number, Subscribe(7, requests))

    def publish(self, number: int, topic: str, payload: bytes = b"x", *, qos: int = 0, retain: bool = False) -> None:
        self.receive(number, Publish(topic, payload, qos, retain, packet_id=9 if qos else None))

    def close(self, number: int) -> None:
        """The transport has ended."""
        self.hung_up.add(number)
        self.carry_out(self.broker.closed(number, now=self.now, at=self.at), number)

    def acknowledge(self, number: int) -> None:
        """Let a client acknowledge everything that it has not, the oldest first, until nothing more comes."""
        while self.unacknowledged[number]:
            self.receive(number, PubAck(next(iter(self.unacknowledged[number]))))

    def wait(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.now += seconds
        self.at += seconds
        self.carry_out(self.broker.expire(self.now, self.at))

    def advance(self, seconds: float) -> None:
        """Let time pass on the clock that a test can move, stopping where something is due; the other stands still."""
        target = self.at + seconds
        while (following := self.broker.next_at()) is not None and following <= target:
            self.at = max(self.at, following)
            self.carry_out(self.broker.expire(self.now, self.at))
        self.at = target
        self.carry_out(self.broker.expire(self.now, self.at))

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
                case Hold(connection):
                    assert connection not in self.hung_up
                    self.holds.append(effect)
                case Happened(event):
                    self.events.append(event)
        return sent

    def _check_sent(self, connection: int, packet: Packet) -> None:
        assert connection not in self.hung_up, f"{packet} was sent on a connection that was hung up"
        encode(packet, self.versions[connection])
        if not isinstance(packet, Publish):
            return
        if packet.packet_id is not None:
            waiting = self.unacknowledged[connection]
            assert packet.packet_id not in waiting
            waiting[packet.packet_id] = None
            assert len(waiting) <= self.windows[connection]
        alias = packet.properties.get(Property.TOPIC_ALIAS)
        if isinstance(alias, int):
            assert 1 <= alias <= self._alias_maximum[connection]
            known = self._aliases[connection]
            if packet.topic:
                assert known.setdefault(alias, packet.topic) == packet.topic
            assert alias in known

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
