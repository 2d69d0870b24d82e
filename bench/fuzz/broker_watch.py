"""What must hold for every effect of the broker, whatever clients do: watched from where the clients are.

- a packet goes only to a connection that was taken in or refused, never after its hang-up, and never in a form that it
  cannot read or that is larger than it takes;
- no client has more unacknowledged messages than its window, two with one identifier, or an alias that it was not told;
- a connection is hung up once; each that was connected is disconnected once, and nothing else is;
- what an event says fits on one line without a control character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from iot_customauth_client.local.broker import Effect, HangUp, Happened, Hold, Send
from iot_customauth_client.local.codec import Connect, Decoder, Packet, Property, PubAck, Publish, Version, encode
from iot_customauth_client.local.event_text import event_json, event_line
from iot_customauth_client.local.events import Connected, Disconnected, Event

from .target import ensure

_LARGEST_WINDOW = 100
_MOST_LINE = 20_000


@dataclass(slots=True)
class Client:
    """One connection, as its client sees it."""

    number: int
    packet: Connect
    decoder: Decoder
    window: int
    aliases: int
    most_bytes: int | None
    unacknowledged: dict[int, None] = field(default_factory=dict[int, None])
    known: dict[int, str] = field(default_factory=dict[int, str])
    connected: bool = False
    hung_up: bool = False


class Watch:
    """All connections of a broker, and the checks."""

    def __init__(self) -> None:
        self.clients: dict[int, Client] = {}
        self.live: set[int] = set()
        self.connected = 0
        self.sent = 0

    def add(self, number: int, packet: Connect) -> None:
        """Take note of a client before its CONNECT is handed to the broker."""
        window, aliases, most = (
            packet.properties.get(key)
            for key in (Property.RECEIVE_MAXIMUM, Property.TOPIC_ALIAS_MAXIMUM, Property.MAXIMUM_PACKET_SIZE)
        )
        self.clients[number] = Client(
            number,
            packet,
            Decoder(version=packet.version),
            min(window, _LARGEST_WINDOW) if isinstance(window, int) else _LARGEST_WINDOW,
            min(aliases, 8) if isinstance(aliases, int) else 0,
            most if isinstance(most, int) else None,
        )

    def said(self, number: int, packet: Packet) -> None:
        """Take note of what a client sends."""
        client = self.clients.get(number)
        if client is not None and isinstance(packet, PubAck):
            client.unacknowledged.pop(packet.packet_id, None)

    def check(self, effects: Sequence[Effect]) -> None:
        """Look at the effects of one call."""
        for effect in effects:
            match effect:
                case Send(number, packet):
                    self._check_sent(number, packet)
                case HangUp(number):
                    client = self.clients.get(number)
                    ensure(client is None or not client.hung_up, "a connection is hung up once")
                    if client is not None:
                        client.hung_up = True
                case Hold(number, seconds):
                    ensure(number in self.live and seconds > 0, "only a live connection is held")
                case Happened(event):
                    self._check_event(event)

    def _check_sent(self, number: int, packet: Packet) -> None:
        self.sent += 1
        ensure(number in self.clients, "nothing is sent to a connection without CONNECT")
        client = self.clients[number]
        ensure(not client.hung_up, "nothing is sent after the hang-up")
        data = encode(packet, client.packet.version)
        ensure(client.most_bytes is None or len(data) <= client.most_bytes, "no packet is larger than the client takes")
        ensure(client.decoder.feed(data) == [packet], "the client reads what was sent")
        if isinstance(packet, Publish):
            self._check_delivery(client, packet)

    def _check_delivery(self, client: Client, packet: Publish) -> None:
        ensure(packet.qos <= 1 and not packet.duplicate, "nothing is delivered with QoS 2 or DUP")
        if packet.packet_id is not None:
            ensure(packet.packet_id not in client.unacknowledged, "an identifier is not used twice at a time")
            client.unacknowledged[packet.packet_id] = None
            ensure(len(client.unacknowledged) <= client.window, "no more is under way than the client takes")
        alias = packet.properties.get(Property.TOPIC_ALIAS)
        if alias is None:
            ensure(bool(packet.topic), "a delivery without alias has a topic")
            return
        ensure(isinstance(alias, int) and 1 <= alias <= client.aliases, "no alias is over the client's maximum")
        assert isinstance(alias, int)
        if packet.topic:
            client.known[alias] = packet.topic
        ensure(alias in client.known, "no alias is used before it was told")

    def _check_event(self, event: Event) -> None:
        line = event_line(event)
        # The characters that `str.splitlines` cuts at are those that a log must not hold.
        ensure(len(line) < _MOST_LINE and len(line.splitlines()) == 1, "an event is one line")
        ensure(not any(map(is_control, line)), "no control character is in a log line")
        ensure(not any(map(is_control, event_json(event))), "no control character is in a line of JSON")
        if isinstance(event, Connected):
            ensure(event.connection not in self.live, "a connection is connected once")
            client = self.clients[event.connection]
            ensure(not client.connected, "a connection is connected once")
            client.connected = True
            self.live.add(event.connection)
            self.connected += 1
        elif isinstance(event, Disconnected):
            ensure(event.connection in self.live, "only what is connected is disconnected, and once")
            self.live.discard(event.connection)

    def version(self, number: int) -> Version:
        """Return the version of a connection; 5 for one that said none."""
        client = self.clients.get(number)
        return client.packet.version if client is not None else Version.MQTT5


def is_control(character: str) -> bool:
    """Tell whether a terminal may take a character for a command, or a reader of lines for the end of one."""
    return character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029"


def topic_of(client: Client, packet: Publish) -> str:
    """Return the topic of a delivery, which an alias may stand for. To be asked after `Watch.check`."""
    alias = packet.properties.get(Property.TOPIC_ALIAS)
    return packet.topic or (client.known[alias] if isinstance(alias, int) else "")
