"""A broker and its clients, driven by the bytes of an input: one operation after another until they are used up.

Everything comes from few topics, filters, client ids and identifiers, so that clients meet. Times go on by fractions of
seconds and by hours. The clocks read differently by far, so that a time of one that is used for the other is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Final

from iot_customauth_client.authorizer.policy_document import PolicyDocument
from iot_customauth_client.local.broker import Broker, DisconnectReason, Effect, Grant, Quotas
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import (
    NO_PROPERTIES,
    CodecError,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Property,
    PropertyValue,
    PubAck,
    Publish,
    ReasonCode,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Version,
    Will,
)
from iot_customauth_client.local.faults import Fault
from iot_customauth_client.local.visitor import Visitor

from . import packets
from .broker_watch import Watch
from .dice import InputDice, chance, pick
from .target import ensure

REGION: Final = "eu-west-1"
ACCOUNT: Final = "123456789012"
_ARN: Final = f"arn:aws:iot:{REGION}:{ACCOUNT}:"

CLIENT_IDS: Final = ("one", "two", "three", "four", "five", "six", "seven", "")
TOPICS: Final = ("a", "a/b", "a/b/c", "secret", "$aws/a", "b", "long/enough/for/an/alias", "$aws/rules/r/a")
FILTERS: Final = (
    *("a", "a", "a/b", "a/b", "#", "#", "a/#", "a/#", "+", "+/b", "+/+/c", "secret", "$aws/#", "b", "long/#", "b"),
    "x#",
)
SHARED: Final = ("$share/g/a", "$share/g/#", "$share/h/a/#", "$share/h/secret")
_REASONS: Final = sorted(set(DisconnectReason) - {"CLIENT_INITIATED_DISCONNECT"})
_CODES: Final = sorted(ReasonCode)
FAULTS: Final = (
    Fault("swallow", "CONNACK"),
    Fault("delay", "CONNACK", seconds=5),
    Fault("swallow", "PUBACK", times=3),
    Fault("delay", "PUBACK", client_id="one", seconds=5),
    Fault("delay", "PUBLISH", topic="a/#", seconds=5),
    Fault("swallow", "PUBLISH"),
    Fault("delay", "SUBACK", seconds=1),
    Fault("swallow", "PINGRESP"),
    Fault("answer", "CONNECT", reason_code=136),
    Fault("answer", "PUBLISH", reason_code=151),
    Fault("answer", "SUBSCRIBE", topic="a", reason_code=128),
    Fault("throttle", "CONNECT"),
    Fault("throttle", "PUBLISH", client_id="two"),
)


def _grant(*statements: tuple[str, str, str], life: int | None = None) -> Grant:
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": effect, "Action": action, "Resource": resource if resource == "*" else _ARN + resource}
            for effect, action, resource in statements
        ],
    }
    return Grant("principal", (PolicyDocument.parse(document),), "192.0.2.1", life)


ALL: Final = ("Allow", "iot:*", "*")
GRANTS: Final = (
    _grant(ALL),
    _grant(ALL),
    _grant(ALL, ("Deny", "iot:Receive", "topic/secret")),
    _grant(ALL, ("Deny", "iot:*", "topic/a/*"), ("Deny", "iot:Subscribe", "topicfilter/secret")),
    _grant(ALL, ("Deny", "iot:Publish", "topic/secret"), ("Deny", "iot:RetainPublish", "topic/b")),
    _grant(ALL, life=300),
    _grant(("Allow", "iot:Connect", "client/${iot:ClientId}"), ("Allow", "iot:*", "topic*/a*")),
    _grant(ALL, ("Deny", "iot:Connect", "client/one")),
)


class World:
    """A broker, up to six connections at a time, and what they do.

    wild: with faults, rates, shared subscriptions, small bounds, time that nobody sees pass, and packets of every kind.
    """

    def __init__(self, dice: InputDice, *, wild: bool) -> None:
        self.dice = dice
        self.parts = packets.KnownParts(dice)
        self.wild = wild
        numbers = count(1)
        quotas: Quotas = "aws" if wild and chance(dice, 40) else "off"
        small = wild and chance(dice, 70)
        self.limits = BrokerLimits(
            max_queued_messages=pick(dice, (3, 3, 15, 40)) if small else 1_000,
            max_queued_bytes=pick(dice, (8, 40, 4_000)) if small else 1_000_000,
            max_flying_bytes=pick(dice, (4, 30, 1_000)) if small else 1_000_000,
            max_will_bytes=pick(dice, (300, 1_100)) if small else 100_000,
            max_retained_messages=2 if small else 100,
            max_kept_sessions=2 if small else 100,
            max_shared_members=2 if small else 100,
        )
        self.expiry = pick(dice, (60, 3_600))
        self.broker = Broker(
            region=REGION,
            account=ACCOUNT,
            quotas=quotas,
            refused_subscribe_311="suback" if chance(dice, 50) else "hang_up",
            session_expiry_seconds=self.expiry,
            choose=dice.below,
            new_uuid=lambda: f"uuid-{next(numbers)}",
            limits=self.limits,
        )
        self.watch = Watch()
        self.now = 1_000.0
        self.at = 5_000_000.0
        self.open: list[int] = []
        self.granted: dict[int, Grant] = {}
        self.packets = 0
        self.last = 0
        self.serial = count(1)
        self.said: Packet = PingReq()
        """What was said last, and in `kicked` whose will an operator took back."""
        self.kicked = ("", False, False)

    def begin(self) -> None:
        """Connect a few clients: without, most of what is said falls flat."""
        for _ in range(3):
            self.look(self.connect())

    def forget_what_was_said(self) -> None:
        """Begin another operation."""
        self.said, self.kicked = PingReq(), ("", False, False)

    def look(self, effects: Sequence[Effect]) -> None:
        """Hold effects against what must hold for all of them."""
        self.watch.check(effects)

    # -- one operation -------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do the next operation, and look at what came of it and at what is held then."""
        self.now += 0.01
        self.at += 0.01
        self.forget_what_was_said()
        operation = pick(self.dice, _WILD if self.wild else _TAME)
        effects = operation(self)
        self.look(effects)
        self.check_sizes()

    def connect(self) -> list[Effect]:
        """Open a connection and send CONNECT on it."""
        if len(self.open) >= 6:
            return self.close()
        dice = self.dice
        self.last += 1
        number = self.last
        packet = (
            packets.connect(self.parts, self._version()) if self.wild and chance(dice, 10) else self.sociable_connect()
        )
        self.open.append(number)
        self.watch.add(number, packet)
        self.packets += 1
        if chance(dice, 4):
            return self.broker.refuse(number, packet, cause="authorizer_failed", explanation="it raised")
        self.granted[number] = grant = pick(dice, GRANTS)
        return self.broker.connect(number, packet, grant, now=self.now, at=self.at)

    def speak(self) -> list[Effect]:
        """Let a client send a packet that has to do with those of others."""
        return self._say(self.sociable_packet()) if self.open else self.connect()

    def storm(self) -> list[Effect]:
        """The same packet several times."""
        if not self.open:
            return self.connect()
        packet, number = self.sociable_packet(), self._number()
        for _ in range(7):
            self.look(self._say(packet, number))
        return self._say(packet, number)

    def speak_wildly(self) -> list[Effect]:
        """Any packet, also one that only a server sends, and a second CONNECT."""
        if not self.open:
            return self.connect()
        number = self._number()
        return self._say(packets.any_packet(self.parts, self.watch.version(number)), number)

    def acknowledge(self) -> list[Effect]:
        """Acknowledge a message that was delivered; now and then another one."""
        if not self.open:
            return self.connect()
        number = self._number()
        waiting = list(self.watch.clients[number].unacknowledged)
        packet_id = pick(self.dice, waiting) if waiting and not chance(self.dice, 5) else 1 + self.dice.below(200)
        return self._say(PubAck(packet_id), number)

    def acknowledge_first(self, number: int) -> None:
        """Let a client acknowledge the oldest message that it has not."""
        waiting = self.watch.clients[number].unacknowledged
        self.look(self._say(PubAck(next(iter(waiting))), number))

    def speak_before_connect(self) -> list[Effect]:
        """Say something on a connection that has not said CONNECT."""
        self.last += 1
        effects = self.broker.receive(self.last, self.sociable_packet(), now=self.now, at=self.at)
        self.look(effects)
        return self.broker.closed(self.last, now=self.now, at=self.at)

    def garble(self) -> list[Effect]:
        """Send what the decoder refuses."""
        if not self.open:
            return self.connect()
        number = self._number()
        error = CodecError(pick(self.dice, _CODES), "it is damaged", rule="MQTT-1.5.4-1")
        version = self.watch.version(number)
        return self.broker.malformed(number, error, version, now=self.now, at=self.at)

    def close(self) -> list[Effect]:
        """End the transport of a connection."""
        if not self.open:
            return self.connect()
        number = self._number()
        self.open.remove(number)
        self.look(self.broker.closed(number, now=self.now, at=self.at))
        self.watch.clients[number].hung_up = True
        self.granted.pop(number, None)
        return []

    def wait(self) -> list[Effect]:
        """Let time pass on both clocks."""
        seconds = pick(self.dice, (0.5, 0.5, 1.0, 1.0, 5.0, 5.0, 40.0, 40.0, 200.0, 2_000.0))
        self.now += seconds
        self.at += seconds
        return self.broker.expire(self.now, self.at)

    def advance(self) -> list[Effect]:
        """Let time pass on the clock that a test can move, stopping where something is due."""
        target = self.at + pick(self.dice, (1.0, 1.0, 10.0, 10.0, 61.0, 301.0, 4_000.0))
        while (following := self.broker.next_at()) is not None and following <= target:
            self.at = max(self.at, following)
            self.look(self.broker.expire(self.now, self.at))
            ensure(self.broker.next_at() != following or following > self.at, "what is due is done")
        self.at = target
        return self.broker.expire(self.now, self.at)

    def pass_unseen(self) -> list[Effect]:
        """Let time pass and tell the broker nothing of it yet."""
        self.at += pick(self.dice, (1.0, 10.0, 61.0, 301.0))
        return []

    def misbehave(self) -> list[Effect]:
        """Have something done wrong."""
        self.broker.faults.add(pick(self.dice, FAULTS))
        return []

    def regrant(self) -> list[Effect]:
        """Answer a refresh."""
        if not self.open:
            return self.connect()
        number = self._number()
        if number not in self.watch.live:
            return self.broker.regrant(number, GRANTS[0], now=self.now, at=self.at)
        self.granted[number] = grant = pick(self.dice, GRANTS)
        return self.broker.regrant(number, grant, now=self.now, at=self.at)

    def end(self) -> list[Effect]:
        """End a connection from the service's side."""
        if not self.open:
            return self.connect()
        number, how = self._number(), self.dice.below(3)
        if how == 0:
            return self.broker.revoke(number, "denied", now=self.now, at=self.at)
        if how == 1:
            return self.broker.shut_down(number, now=self.now, at=self.at)
        return self.broker.end(
            number, DisconnectReason(pick(self.dice, _REASONS)), "it is over", now=self.now, at=self.at
        )

    def kick(self) -> list[Effect]:
        """End a client, or its session, from the user's side."""
        dice = self.dice
        self.kicked = (client_id, clean, prevent) = pick(dice, CLIENT_IDS), chance(dice, 50), chance(dice, 30)
        return self.broker.disconnect(
            client_id,
            pick(dice, _REASONS),
            clean_session=clean,
            prevent_will_message=prevent,
            now=self.now,
            at=self.at,
        )

    def publish(self) -> list[Effect]:
        """Publish from the endpoint itself."""
        dice = self.dice
        return self.broker.publish(
            pick(dice, TOPICS), self.payload(), qos=dice.below(2), retain=chance(dice, 30), now=self.now, at=self.at
        )

    def flood(self) -> list[Effect]:
        """Publish from the endpoint more than a window or a rate takes."""
        topic = pick(self.dice, TOPICS)
        for _ in range(14):
            self.look(self.broker.publish(topic, self.payload(), qos=1, now=self.now, at=self.at))
        return self.broker.publish(topic, self.payload(), qos=1, now=self.now, at=self.at)

    def visit(self) -> list[Effect]:
        """Publish by HTTPS."""
        dice = self.dice
        visitor = Visitor(1_000_000, pick(dice, GRANTS), region=REGION, account=ACCOUNT)
        effects, refusal = self.broker.publish_for(
            visitor,
            pick(dice, (*TOPICS, *FILTERS, "")),
            self.payload(),
            qos=dice.below(2),
            retain=chance(dice, 30),
            properties=NO_PROPERTIES,
            now=self.now,
            at=self.at,
        )
        ensure(refusal is None or refusal.explanation.strip() != "", "a refusal is explained")
        return effects

    # -- what clients say ----------------------------------------------------------------------------------------------

    def _say(self, packet: Packet, number: int | None = None) -> list[Effect]:
        number = self._number() if number is None else number
        self.packets += 1
        self.said = packet
        self.watch.said(number, packet)
        return self.broker.receive(number, packet, now=self.now, at=self.at)

    def _number(self) -> int:
        live = [number for number in self.open if number in self.watch.live]
        return pick(self.dice, live if live and not chance(self.dice, 10) else self.open)

    def _version(self) -> Version:
        return Version.MQTT5 if chance(self.dice, 60) else Version.MQTT311

    def payload(self) -> bytes:
        """A payload that no other message has; sometimes none at all."""
        width = 30 if self.wild and chance(self.dice, 10) else 1
        return b"" if chance(self.dice, 5) else b"%*d" % (width, next(self.serial))

    def sociable_connect(self) -> Connect:
        """A CONNECT with a client id that others have too."""
        dice = self.dice
        version, client_id = self._version(), pick(dice, CLIENT_IDS)
        will: Will | None = None
        properties: dict[Property, PropertyValue] = {}
        if chance(dice, 40):
            will = Will(pick(dice, TOPICS), b"will %d" % next(self.serial), dice.below(2), chance(dice, 30))
        if version is Version.MQTT5:
            properties[Property.SESSION_EXPIRY_INTERVAL] = pick(dice, (0, 10, 100_000, 100_000))
            if chance(dice, 30):
                properties[Property.RECEIVE_MAXIMUM] = pick(dice, (1, 2, 3, 65_535))
            if chance(dice, 50):
                properties[Property.TOPIC_ALIAS_MAXIMUM] = dice.below(4)
            if chance(dice, 5):
                properties[Property.MAXIMUM_PACKET_SIZE] = pick(dice, (1, 20, 40, 60, 100))
            if chance(dice, 10):
                properties[Property.REQUEST_PROBLEM_INFORMATION] = 0
            if will is not None:
                will = replace(will, properties={Property.WILL_DELAY_INTERVAL: pick(dice, (0, 5, 50, 5_000))})
        clean_start = chance(dice, 30) or not client_id
        keep_alive = pick(dice, (0, 30, 30, 300))
        return Connect(version, client_id, clean_start, keep_alive, will=will, properties=properties)

    def sociable_packet(self) -> Packet:
        """A packet that has to do with what others say."""
        dice = self.dice
        match dice.below(40):
            case kind if kind < 24:
                qos = dice.below(2) if chance(dice, 99) else 2
                properties: dict[Property, PropertyValue] = {}
                if chance(dice, 15):
                    properties[Property.MESSAGE_EXPIRY_INTERVAL] = pick(dice, (0, 1, 10, 100))
                if chance(dice, 10):
                    properties[Property.TOPIC_ALIAS] = 1 + dice.below(2 if chance(dice, 90) else 9)
                topic = "" if Property.TOPIC_ALIAS in properties and chance(dice, 20) else pick(dice, TOPICS)
                number = 1 + dice.below(150)
                return Publish(topic, self.payload(), qos, chance(dice, 15), False, number if qos else None, properties)
            case kind if kind < 35:
                filters = (*FILTERS, *SHARED) if self.wild else FILTERS
                requests = tuple(
                    SubscribeRequest(
                        pick(dice, filters),
                        1 if chance(dice, 60) else dice.below(3),
                        chance(dice, 15),
                        chance(dice, 30),
                        dice.below(3),
                    )
                    for _ in range(1 + dice.below(4 if chance(dice, 90) else 10))
                )
                return Subscribe(1 + dice.below(9), requests)
            case 35 | 36:
                filters = (*FILTERS, *SHARED)
                return Unsubscribe(1 + dice.below(9), tuple(pick(dice, filters) for _ in range(1 + dice.below(3))))
            case 37:
                return PingReq()
            case _:
                expiry = chance(dice, 40)
                properties = {Property.SESSION_EXPIRY_INTERVAL: pick(dice, (0, 10, 100_000))} if expiry else {}
                return Disconnect(pick(dice, (0, 4)), properties)

    # -- the end -------------------------------------------------------------------------------------------------------

    def check_sizes(self) -> dict[str, int]:
        """Hold what the broker counts against what it may have; returns it."""
        sizes = self.broker.sizes()
        ensure(sizes["live"] == len(self.watch.live), "what is live was connected and not disconnected")
        ensure(sizes["sessions"] - sizes["kept_sessions"] == sizes["live"], "a client id is connected once")
        ensure(not sizes["wills_due"] and not sizes["overflowed"], "nothing is left to be settled")
        ensure(sizes["retained"] <= self.limits.max_retained_messages, "retained messages are bounded")
        ensure(sizes["kept_sessions"] <= self.limits.max_kept_sessions, "kept sessions are bounded")
        ensure(sizes["will_bytes"] <= self.limits.max_will_bytes, "wills are bounded")
        ensure(not sizes["will_bytes"] or sizes["sessions"], "a will is of somebody who may come back, or is there")
        ensure(not sizes["flying_bytes"] or sizes["in_flight"], "what flies is in flight")
        most = sizes["sessions"] * (self.limits.max_queued_messages + 100)
        ensure(sizes["queued"] <= most, "what waits is bounded")
        ensure(sizes["subscriptions"] <= 50 * sizes["sessions"], "subscriptions are bounded")
        ensure(sizes["in_flight"] <= 100 * sizes["live"], "what is under way is bounded")
        return sizes

    def empty(self) -> None:
        """End everything, and look for what is left behind."""
        while self.open:
            number = self.open.pop()
            self.look(self.broker.closed(number, now=self.now, at=self.at))
            self.watch.clients[number].hung_up = True
        self.now += 604_801
        self.at += 604_801
        self.look(self.broker.expire(self.now, self.at))
        ensure(self.broker.next_at() is None, "nothing is planned when all have gone")
        left = {name for name, size in self.broker.sizes().items() if size}
        ensure(left <= {"retained"}, f"nothing is left when all have gone, but {sorted(left)}")
        ensure(not self.watch.live, "all were disconnected")


Operation = Callable[[World], list[Effect]]

_TAME: Final[tuple[Operation, ...]] = (
    *(World.connect,) * 4,
    *(World.speak,) * 40,
    *(World.acknowledge,) * 14,
    *(World.close, World.wait, World.advance, World.regrant, World.end, World.kick, World.publish, World.visit),
)
_WILD: Final[tuple[Operation, ...]] = (
    *_TAME,
    *(World.storm,) * 3,
    *(World.speak_wildly,) * 2,
    *(World.flood, World.flood, World.speak_before_connect, World.garble, World.pass_unseen, World.misbehave),
)
