"""The one place where a packet goes out to a connected client: faults, topic aliases, and what the rates count.

Messages to a client that has had more than its throughput (`quotas.py`) wait, in their order, until they are within it;
that is looked at about once a second. Answers do not wait: they are small, and the client waits for them.

Nothing overtakes a CONNACK that a fault keeps back, and nothing follows one that a fault swallows: a client must not
see anything of the server before it (MQTT-3.2.0-1).
"""

from dataclasses import replace
from typing import Final

from ..limits import MAX_BYTES_PER_SECOND_PER_CONNECTION
from .agenda import Agenda, Planned
from .codec import Packet, Property, PubAck, Publish, encode
from .effects import Effect, Happened, Send
from .events import Dropped
from .faults import Faults, PacketName
from .live_connection import LiveConnection
from .message import Message
from .moment import Moment

_NAMES: dict[str, PacketName] = {
    "ConnAck": "CONNACK",
    "PubAck": "PUBACK",
    "SubAck": "SUBACK",
    "UnsubAck": "UNSUBACK",
    "PingResp": "PINGRESP",
    "Publish": "PUBLISH",
}
"""By the name of the class: the packets that faults know. A DISCONNECT is not among them."""

_ENDED_BEFORE: Final = (
    f"the connection ended while it waited: the client is sent no more than {MAX_BYTES_PER_SECOND_PER_CONNECTION:,} "
    "bytes in a second, AWS IoT Core's rate"
)
_EXPIRED: Final = "its message expiry passed while it waited for the throughput of the client"


class Post:
    """Sends packets to connected clients."""

    __slots__ = ("_agenda", "_behind", "_faults")

    def __init__(self, faults: Faults, agenda: Agenda) -> None:
        self._faults = faults
        self._agenda = agenda
        self._behind: dict[LiveConnection, None] = {}
        """Connections for which messages wait for the throughput."""

    def send(
        self,
        live: LiveConnection,
        packet: Packet,
        moment: Moment,
        effects: list[Effect],
        *,
        topics: tuple[str, ...] = (),
        expiring: Message | None = None,
    ) -> None:
        """Send a packet.

        topics: those of the request that it answers, or its own.
        expiring: the message that it carries, if that can expire while it waits.
        """
        if live.silenced:
            return
        if not self._faults.pending:
            self._pass_on(live, packet, moment, effects, expiring)
            return
        name = _NAMES.get(type(packet).__name__)
        fault = self._faults.take(("swallow", "delay"), name, live.client_id, topics) if name else None
        if fault is None:
            self._pass_on(live, packet, moment, effects, expiring)
        elif fault.action == "delay":
            self._delay(live, packet, moment.at + fault.seconds, connack=name == "CONNACK")
        elif name == "CONNACK":
            live.silenced = True

    def discard(self, live: LiveConnection, effects: list[Effect]) -> None:
        """Give up what is delayed for a connection that ends.

        What waited for the throughput was counted as delivered, and of QoS 0 nobody keeps it: so that is told.
        """
        for planned in live.late:
            planned.cancel()
        live.late.clear()
        live.held = None
        self._behind.pop(live, None)
        if live.quotas is not None:
            given_up = live.quotas.give_up_delayed()
            effects.extend(_dropped(live, each, "delivery_rate", _ENDED_BEFORE) for each in given_up if not each.qos)

    def catch_up(self, moment: Moment, effects: list[Effect]) -> list[tuple[LiveConnection, int]]:
        """Send the messages that waited for the throughput and are within it now, but those that have expired.

        Returns the packet identifiers of these: their places are free.
        """
        freed: list[tuple[LiveConnection, int]] = []
        for live in list(self._behind):
            if live.quotas is not None:
                for packet, expiring in live.quotas.take_delayed(moment.now):
                    if expiring is None or not expiring.expired(moment.at):
                        self._put(live, _as_of(packet, expiring, moment), effects)
                        continue
                    effects.append(_dropped(live, packet, "expired", _EXPIRED))
                    if packet.packet_id is not None:
                        freed.append((live, packet.packet_id))
                if live.quotas.delayed:
                    continue
            del self._behind[live]
        return freed

    @property
    def behind(self) -> int:
        """How many clients have messages that wait for their throughput."""
        return len(self._behind)

    def _delay(self, live: LiveConnection, packet: Packet, when: float, *, connack: bool) -> None:
        def send_late(moment: Moment, effects: list[Effect]) -> None:
            live.late.discard(planned)
            if not connack:
                self._pass_on(live, packet, moment, effects)
                return
            held, live.held = live.held or [], None
            for each in (packet, *held):
                self._pass_on(live, each, moment, effects)

        planned: Planned = self._agenda.plan(when, send_late)
        live.late.add(planned)
        if connack:
            live.held = []

    def _pass_on(
        self,
        live: LiveConnection,
        packet: Packet,
        moment: Moment,
        effects: list[Effect],
        expiring: Message | None = None,
    ) -> None:
        if live.held is not None:
            live.held.append(packet)
            return
        if live.quotas is not None:
            size = len(encode(packet, live.version))
            if isinstance(packet, Publish) and live.quotas.delay(packet, size, moment.now, expiring):
                self._behind[live] = None
                return
            live.quotas.throughput.count(size, moment.now)
        self._put(live, packet, effects)

    def _put(self, live: LiveConnection, packet: Packet, effects: list[Effect]) -> None:
        if isinstance(packet, Publish):
            packet = self._shorten(live, packet)
        elif isinstance(packet, PubAck):
            live.unanswered.discard(packet.packet_id)
        effects.append(Send(live.number, packet))

    def _shorten(self, live: LiveConnection, packet: Publish) -> Publish:
        """Use a topic alias, unless the packet that tells it is larger than the client takes."""
        shortened = live.outgoing_aliases.apply(packet)
        if shortened is packet or live.fits(shortened):
            return shortened
        live.outgoing_aliases.forget(packet)
        return packet


def _as_of(packet: Publish, expiring: Message | None, moment: Moment) -> Publish:
    """Return the packet as it is at this moment: with what is left of the message expiry (MQTT-3.3.2-6)."""
    if expiring is None or Property.MESSAGE_EXPIRY_INTERVAL not in packet.properties:
        return packet
    return replace(packet, properties=expiring.properties_at(moment.at))


def _dropped(live: LiveConnection, packet: Publish, cause: str, explanation: str) -> Happened:
    return Happened(Dropped(live.number, live.client_id, packet.topic, packet.payload, cause, explanation))
