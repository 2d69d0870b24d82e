"""The one place where a packet goes out to a connected client: faults, topic aliases, and what the rates count.

Nothing overtakes a CONNACK that a fault keeps back, and nothing follows one that a fault swallows: a client must not
see anything of the server before it (MQTT-3.2.0-1).
"""

from .agenda import Agenda, Planned
from .codec import Packet, PubAck, Publish, encode
from .effects import Effect, Send
from .faults import Faults, PacketName
from .live_connection import LiveConnection
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


class Post:
    """Sends packets to connected clients."""

    __slots__ = ("_agenda", "_faults")

    def __init__(self, faults: Faults, agenda: Agenda) -> None:
        self._faults = faults
        self._agenda = agenda

    def send(
        self,
        live: LiveConnection,
        packet: Packet,
        moment: Moment,
        effects: list[Effect],
        *,
        topics: tuple[str, ...] = (),
    ) -> None:
        """Send a packet. `topics`: those of the request that it answers, or its own."""
        if live.silenced:
            return
        if not self._faults.pending:
            self._pass_on(live, packet, moment, effects)
            return
        name = _NAMES.get(type(packet).__name__)
        fault = self._faults.take(("swallow", "delay"), name, live.client_id, topics) if name else None
        if fault is None:
            self._pass_on(live, packet, moment, effects)
        elif fault.action == "delay":
            self._delay(live, packet, moment.at + fault.seconds, connack=name == "CONNACK")
        elif name == "CONNACK":
            live.silenced = True

    def discard(self, live: LiveConnection) -> None:
        """Give up what is delayed for a connection that ends."""
        for planned in live.late:
            planned.cancel()
        live.late.clear()
        live.held = None

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

    def _pass_on(self, live: LiveConnection, packet: Packet, moment: Moment, effects: list[Effect]) -> None:
        if live.held is not None:
            live.held.append(packet)
            return
        if isinstance(packet, Publish):
            packet = self._shorten(live, packet)
        elif isinstance(packet, PubAck):
            live.unanswered.discard(packet.packet_id)
        if live.quotas is not None:
            live.quotas.throughput.count(len(encode(packet, live.version)), moment.now)
        effects.append(Send(live.number, packet))

    def _shorten(self, live: LiveConnection, packet: Publish) -> Publish:
        """Use a topic alias, unless the packet that tells it is larger than the client takes."""
        shortened = live.outgoing_aliases.apply(packet)
        if shortened is packet or live.fits(shortened):
            return shortened
        live.outgoing_aliases.forget(packet)
        return packet
