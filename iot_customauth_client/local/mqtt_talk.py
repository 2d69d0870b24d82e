"""MQTT on one connection: bytes from a pipe to packets to the broker, and back.

    CONNECT ──> AUTHORIZER ──granted──> LIVE        what comes while the authorizer runs is held, and bounded

The pipe says whether it is MQTT directly inside TLS or in WebSocket messages; from there on there is no difference,
but that a WebSocket connection ends after 24 hours, when a message is next sent (AWS page "AWS IoT Core endpoints and
quotas"). What a packet means is the broker's matter, who may connect the authorizer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .. import limits
from .codec import CodecError, Connect, Decoder, Packet, Publish, ReasonCode, Version, encode
from .connect_attempt import ConnectAttempt
from .doors import TurnAway
from .effects import Grant
from .http_door import http_on_mqtt_door
from .offence import DisconnectReason
from .pipes import Pipe, PipeEnd
from .presented import HttpPart
from .talk import Stage

if TYPE_CHECKING:
    from .client_connection import ClientConnection

MAX_HELD_BYTES: Final = 256 * 1024
"""What a client may send ahead while its authorizer runs; then nothing more is read until the answer is there."""
WEBSOCKET_LIFE_SECONDS: Final = 86_400.0
"""Page "AWS IoT Core endpoints and quotas": how long a WebSocket connection lives."""

_RECOGNISABLE_BYTES = 16

# Asked for each message: with Python 3.11 these are ten times as fast as the attributes.
_CONNECT: Final = Stage.CONNECT
_LEAVING: Final = Stage.LEAVING


class MqttTalk:
    """The MQTT of one connection. `http` is the upgrade that came before, None if there was none."""

    def __init__(self, line: ClientConnection, pipe: Pipe, *, http: HttpPart | None = None) -> None:
        self._line: Final = line
        self._server: Final = line.server
        self._pipe: Final = pipe
        self._http: Final = http
        self._decoder = Decoder(max_packet_bytes=limits.MAX_PACKET_BYTES)
        self._head = b""
        self._held: list[Packet] = []
        self._held_error: CodecError | None = None
        self._held_bytes = bytearray()
        self._held_end: PipeEnd | None = None
        self._attempt: ConnectAttempt | None = None
        self._unsent: list[bytes] = []
        self._ends_at = None if http is None else line.server.at() + WEBSOCKET_LIFE_SECONDS

    # -- called by the connection ------------------------------------------------------------------------------------

    def receive(self, plaintext: bytes) -> None:
        """Take plaintext."""
        piped = self._pipe.receive(plaintext)
        if piped.to_write:
            self._line.write(piped.to_write)
        if piped.payload:
            self._receive_mqtt(piped.payload)
        if piped.end is not None and not self._over:
            self._pipe_ended(piped.end)

    def send(self, packet: Packet) -> None:
        """Put a packet into this turn's output."""
        if self._ends_at is not None and self._too_old(packet):
            self._end_of_life()
            return
        self._unsent.append(encode(packet, self._decoder.version or Version.MQTT5))

    def output(self) -> bytes:
        """Return this turn's packets, as the pipe carries them."""
        if not self._unsent:
            return b""
        packets, self._unsent = self._unsent, []
        return self._pipe.send(packets)

    def farewell(self) -> bytes:
        """Close the pipe."""
        return self._pipe.close()

    def forget(self) -> None:
        """Let go of what is held."""
        self._held.clear()
        self._held_bytes.clear()
        self._unsent.clear()

    # -- packets -----------------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._line.left or self._line.is_hanging_up

    def _receive_mqtt(self, payload: bytes) -> None:
        if self._line.stage is Stage.AUTHORIZER:
            self._hold(payload)
            return
        if self._line.stage is Stage.CONNECT and len(self._head) < _RECOGNISABLE_BYTES:
            self._head += payload[:_RECOGNISABLE_BYTES]
        try:
            packets, error = self._decoder.feed(payload), None
        except CodecError as failure:
            packets, error = list(failure.before), failure
        self._take(packets, error)

    def _take(self, packets: list[Packet], error: CodecError | None) -> None:
        """Hand packets to the broker, in order; behind a CONNECT they wait for the authorizer."""
        server, line = self._server, self._line
        now, at = server.loop.time(), server.at()  # of all of them: they came together
        for index, packet in enumerate(packets):
            if line.stage is _CONNECT and isinstance(packet, Connect):
                self._held, self._held_error = packets[index + 1 :], error
                self._authenticate(packet)
                if self._held or error:
                    self._came_early()
                return
            if line.stage is _LEAVING or line.is_hanging_up:
                return
            if self._ends_at is not None and self._too_old(packet):
                self._end_of_life()
                return
            server.perform(server.broker.receive(line.number, packet, now=now, at=at))
        if error is not None and not self._over:
            self._malformed(error)

    def _malformed(self, error: CodecError) -> None:
        line = self._line
        wrong_door = http_on_mqtt_door(self._head) if line.stage is Stage.CONNECT else None
        if wrong_door is not None:
            line.turn_away(line.domain.explain(wrong_door))
            return
        line.heard()
        server = self._server
        server.perform(
            server.broker.malformed(line.number, error, self._decoder.version, now=server.loop.time(), at=server.at())
        )

    def _pipe_ended(self, end: PipeEnd) -> None:
        line, server = self._line, self._server
        if line.stage is Stage.AUTHORIZER and end.violation is not None:
            self._held_end = end  # what came before it is taken first
        elif end.violation is not None:
            self._malformed(CodecError(ReasonCode.PROTOCOL_ERROR, end.violation, rule=end.rule))
        elif line.stage is Stage.CONNECT:
            line.turn_away(TurnAway("closed_early", None, "the client closed the WebSocket before a complete CONNECT"))
        else:
            now, at = server.loop.time(), server.at()
            server.perform(server.broker.left(line.number, "the client closed the WebSocket", now=now, at=at))
            server.perform(server.broker.closed(line.number, now=now, at=at))
            line.leave()

    # -- the authorizer ----------------------------------------------------------------------------------------------

    def _came_early(self) -> None:
        """The client has sent more before its CONNACK: the choices say whether that ends the connection."""
        if self._server.choices.packets_before_connack == "hang_up" and self._attempt is not None and not self._over:
            explanation = "the client went on after CONNECT and did not wait for CONNACK, as the service wants it to"
            self._attempt.give_up("sent_before_connack", explanation)
            self._line.leave()

    def _hold(self, payload: bytes) -> None:
        self._came_early()
        self._held_bytes += payload
        if len(self._held_bytes) > MAX_HELD_BYTES:
            self._line.pause()

    def _authenticate(self, packet: Connect) -> None:
        line = self._line
        line.heard()
        self._attempt = ConnectAttempt(
            self._server,
            line.number,
            packet,
            domain=line.domain,
            server_name=line.server_name,
            source_ip=line.source_ip,
            http=self._http,
            is_there=lambda: not line.left,
            evicted=lambda: line.evicted,
            granted=self._granted,
        )
        self._attempt.begin()

    def _granted(self, packet: Connect, grant: Grant) -> None:
        server, line = self._server, self._line
        line.stage = Stage.LIVE
        self._attempt, self._head = None, b""
        server.peers.let_in(line.number)
        server.perform(server.broker.connect(line.number, packet, grant, now=server.loop.time(), at=server.at()))
        self._release()

    def _release(self) -> None:
        """Go on with what came while the authorizer ran."""
        packets, error, payload, end = self._held, self._held_error, bytes(self._held_bytes), self._held_end
        self._held, self._held_error = [], None
        self._held_bytes.clear()
        self._take(packets, error)
        if end is not None and not self._over:
            self._line.do_first(lambda _: self._pipe_ended(end), b"")
        if payload and error is None and not self._over:
            self._line.do_first(self._receive_mqtt, payload)
        self._line.resume()

    # -- the life of a WebSocket --------------------------------------------------------------------------------------

    def _too_old(self, packet: Packet) -> bool:
        return self._ends_at is not None and isinstance(packet, Publish) and self._server.at() >= self._ends_at

    def _end_of_life(self) -> None:
        self._ends_at = None
        self._server.end_client(
            self._line.number,
            DisconnectReason.WEBSOCKET_TTL_EXPIRATION,
            "the WebSocket connection is 24 hours old, and a message was to be sent: connect again",
        )
