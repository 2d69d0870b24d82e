"""One TCP connection of the local endpoint: bytes from the socket in, through front, TLS and codec, to the broker.

::

    FRONT ──ClientHello──> TLS ──ALPN mqtt──> CONNECT ──> AUTHORIZER ──granted──> LIVE
      │                     │ └──no ALPN────> HTTP            │                    │
      └──── turned away ────┴─────────┴─────────┴── refused ──┴──── hung up ───────┴──> LEAVING ──> (closed)

Every stage that waits for the peer has a time limit but LIVE, which has the keep alive. LEAVING has written its last
bytes and discards what still comes, for `LINGER_SECONDS` at most: closing a socket with unread bytes in it would take
the last answer away from the peer.

This file owns the socket of one connection and nothing else: what a packet means is the broker's matter, who may
connect the authorizer's. It creates no task; its one timer is cancelled when it changes stage or ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
from typing import TYPE_CHECKING, Final, cast

from .. import limits
from .codec import CodecError, Connect, Decoder, Packet, Version, encode
from .connect_attempt import ConnectAttempt
from .doors import Door, TurnAway, choose_door
from .effects import Grant
from .events import Closed, Event, Handshake, Opened, TurnedAway
from .events import Proxied as ProxiedEvent
from .front import Front, Hello, Proxied
from .http_door import HttpDoor, http_on_mqtt_door
from .http_head import Reply
from .tls import TlsError, TlsStream, alert

if TYPE_CHECKING:
    from .server import Server

HANDSHAKE_SECONDS: Final = 10.0
"""From the accepted TCP connection to the end of the TLS handshake."""
CONNECT_SECONDS: Final = 10.0
"""From there to a complete CONNECT (or HTTP request)."""
LINGER_SECONDS: Final = 2.0
"""How long a connection that was ended waits for its peer to close too."""
MAX_HELD_BYTES: Final = 256 * 1024
"""What a client may send ahead while its authorizer runs; then nothing more is read until the answer is there."""
MAX_UNSENT_BYTES: Final = 32 * 1024 * 1024
"""What may wait for a peer that does not read; beyond that it is cut off."""

_RECOGNISABLE_BYTES = 16


class Stage(enum.Enum):
    """How far a connection has come."""

    FRONT = "before its ClientHello"
    TLS = "within the TLS handshake"
    HTTP = "before a complete HTTP request or CONNECT"
    CONNECT = "after the TLS handshake, before a complete CONNECT"
    AUTHORIZER = "while the authorizer ran"
    LIVE = "connected"
    LEAVING = "leaving"


HALF_OPEN = frozenset({Stage.FRONT, Stage.TLS, Stage.HTTP, Stage.CONNECT})
"""Stages in which a peer has not shown yet that it is a client."""


class ClientConnection(asyncio.Protocol):
    """One accepted connection. All its methods run on the event loop's thread."""

    def __init__(self, server: Server, number: int) -> None:
        self.number: Final = number
        self.stage = Stage.FRONT
        self._server = server
        self._loop = server.loop
        self._front = Front(server.served, ports=(limits.SERVICE_PORT, server.port))
        self._hello: Hello | None = None
        self._door = Door.MQTT
        self._tls: TlsStream | None = None
        self._http = HttpDoor()
        self._decoder = Decoder(max_packet_bytes=limits.MAX_PACKET_BYTES)
        self._head = b""
        self._held: list[Packet] = []
        self._held_error: CodecError | None = None
        self._held_bytes = bytearray()
        self._unsent: list[bytes] = []
        self._last_words = False
        self._timer: asyncio.TimerHandle | None = None
        self._source_ip: str | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # set by connection_made, before all else

    # -- called by asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. asyncio has set TCP_NODELAY on the socket."""
        self._transport = cast("asyncio.Transport", transport)
        peer = cast("tuple[str, int] | None", transport.get_extra_info("peername"))
        self._source_ip, port = peer[:2] if peer else (None, 0)
        host = f"[{self._source_ip}]" if self._source_ip and ":" in self._source_ip else self._source_ip
        self._happened(Opened(self.number, f"{host}:{port}" if peer else "unknown"))
        self._limit(HANDSHAKE_SECONDS)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take what the socket gave."""
        match self.stage:
            case Stage.LEAVING:
                return
            case Stage.FRONT:
                self._receive_front(data)
            case _:
                self._receive_tls(data)
        self._server.flush()

    def eof_received(self) -> None:
        """Let asyncio close the connection: nothing is sent to a peer that has ended its side."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up; the one place through which every connection goes at last."""
        del exc  # asyncio gives the reset or broken pipe; for the client it is lost all the same
        if self._timer is not None:
            self._timer.cancel()
        if self.stage in HALF_OPEN:
            explanation = "the client closed the connection " + (
                self._front.progress if self.stage is Stage.FRONT else self.stage.value
            )
            self._happened(TurnedAway(self.number, "closed_early", explanation))
        self.stage = Stage.LEAVING
        self._held.clear()
        self._held_bytes.clear()
        self._unsent.clear()
        self._server.closed(self)
        self._happened(Closed(self.number))
        self._server.flush()

    # -- called by the server ----------------------------------------------------------------------------------------

    def send(self, packet: Packet) -> None:
        """Put a packet into this turn's output; `flush` writes it."""
        if self.stage is not Stage.LEAVING and not self._last_words:
            self._unsent.append(encode(packet, self._decoder.version or Version.MQTT5))
            self._server.has_output(self)

    def hang_up(self) -> None:
        """Leave once this turn's output is written."""
        self._last_words = True
        self._server.has_output(self)

    def flush(self) -> None:
        """Write this turn's output with one call, as few TLS records as possible."""
        if self.stage is Stage.LEAVING or self._tls is None:
            self._unsent.clear()
            return
        if self._unsent:
            plaintext = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
            self._unsent.clear()
            self._transport.write(self._tls.send(plaintext))
            if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self._server.cut_off(self, f"the client does not read: {MAX_UNSENT_BYTES:,} bytes wait for it")
                return
        if self._last_words:
            self._leave()

    def turn_away(self, turn_away: TurnAway) -> None:
        """End a connection that is not a client yet, with an alert if TLS has not begun."""
        self._happened(TurnedAway(self.number, turn_away.cause, turn_away.explanation))
        if turn_away.alert is not None and self._tls is None:
            self._transport.write(alert(turn_away.alert))
        self._leave()

    def close(self) -> None:
        """End in good order, without a word in the log and without waiting for the peer: the endpoint stops."""
        self._leave()
        self._transport.close()

    def abort(self) -> None:
        """End at once; what was not sent is lost."""
        self.stage = Stage.LEAVING
        self._transport.abort()

    # -- before MQTT -------------------------------------------------------------------------------------------------

    def _receive_front(self, data: bytes) -> None:
        for output in self._front.receive(data):
            match output:
                case Reply():
                    self._transport.write(output.data)
                case Proxied():
                    self._happened(ProxiedEvent(self.number, output.target))
                case TurnAway():
                    self.turn_away(output)
                case Hello():
                    self._choose_door(output)

    def _choose_door(self, hello: Hello) -> None:
        self._hello = hello
        offer = hello.client_hello
        door = choose_door(offer.server_name, offer.alpn, self._server.served)
        if isinstance(door, TurnAway):
            self.turn_away(door)
            return
        self._door = door
        self._tls = TlsStream(self._server.contexts[door])
        self.stage = Stage.TLS
        self._receive_tls(hello.received)

    def _receive_tls(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            return
        try:
            received = tls.receive(data)
        except TlsError as error:
            self._tls_failed(error)
            return
        if received.to_write:
            self._transport.write(received.to_write)
        if self.stage is Stage.TLS and tls.handshake_done:
            self._handshake_done(tls)
        if self.stage in _SHAKING:
            _acknowledge_now(self._transport)
        if received.plaintext:
            if self.stage is Stage.HTTP:
                self._receive_http(tls, received.plaintext)
            else:
                self._receive_mqtt(received.plaintext)
        if tls.eof and not self._left():
            self._server.flush()
            self._transport.close()

    def _left(self) -> bool:
        return self.stage is Stage.LEAVING

    def _tls_failed(self, error: TlsError) -> None:
        if error.to_write:
            self._transport.write(error.to_write)
        if self.stage in HALF_OPEN:
            self.turn_away(TurnAway(error.cause, None, error.explanation))
        else:
            self._server.cut_off(self, error.explanation)

    def _handshake_done(self, tls: TlsStream) -> None:
        offer = self._hello.client_hello if self._hello else None
        server_name, offered = (offer.server_name, offer.alpn) if offer else (None, ())
        self.stage = Stage.CONNECT if self._door is Door.MQTT else Stage.HTTP
        self._limit(CONNECT_SECONDS)
        self._happened(Handshake(self.number, server_name, offered, tls.alpn, tls.version or ""))

    def _receive_http(self, tls: TlsStream, plaintext: bytes) -> None:
        for output in self._http.receive(plaintext):
            match output:
                case Reply():
                    self._transport.write(tls.send(output.data))
                case TurnAway():
                    self.turn_away(output)

    # -- MQTT --------------------------------------------------------------------------------------------------------

    def _receive_mqtt(self, plaintext: bytes) -> None:
        if self.stage is Stage.AUTHORIZER:
            self._hold(plaintext)
            return
        if self.stage is Stage.CONNECT and len(self._head) < _RECOGNISABLE_BYTES:
            self._head += plaintext[:_RECOGNISABLE_BYTES]
        try:
            packets, error = self._decoder.feed(plaintext), None
        except CodecError as failure:
            packets, error = list(failure.before), failure
        self._take(packets, error)

    def _take(self, packets: list[Packet], error: CodecError | None) -> None:
        """Hand packets to the broker, in order; behind a CONNECT they wait for the authorizer."""
        server = self._server
        for index, packet in enumerate(packets):
            if self.stage is Stage.CONNECT and isinstance(packet, Connect):
                self._held, self._held_error = packets[index + 1 :], error
                self._authenticate(packet)
                return
            if self._left() or self._last_words:
                return
            now = self._loop.time()
            server.perform(server.broker.receive(self.number, packet, now=now, at=now))
        if error is None or self._left() or self._last_words:
            return
        wrong_door = http_on_mqtt_door(self._head) if self.stage is Stage.CONNECT else None
        if wrong_door is not None:
            self.turn_away(wrong_door)
            return
        self._end_half_open()
        now = self._loop.time()
        server.perform(server.broker.malformed(self.number, error, self._decoder.version, now=now, at=now))

    def _hold(self, plaintext: bytes) -> None:
        self._held_bytes += plaintext
        if len(self._held_bytes) > MAX_HELD_BYTES:
            self._transport.pause_reading()

    def _authenticate(self, packet: Connect) -> None:
        self._end_half_open()
        ConnectAttempt(
            self._server,
            self.number,
            packet,
            server_name=self._hello.client_hello.server_name if self._hello else None,
            source_ip=self._source_ip,
            is_there=lambda: not self._left(),
            granted=self._granted,
        ).begin()

    def _granted(self, packet: Connect, grant: Grant) -> None:
        server = self._server
        self.stage = Stage.LIVE
        now = self._loop.time()
        server.perform(server.broker.connect(self.number, packet, grant, now=now, at=now))
        self._release()

    def _release(self) -> None:
        """Go on with what came while the authorizer ran."""
        packets, error, plaintext = self._held, self._held_error, bytes(self._held_bytes)
        self._held, self._held_error = [], None
        self._held_bytes.clear()
        self._take(packets, error)
        if plaintext and error is None and not (self._left() or self._last_words):
            self._receive_mqtt(plaintext)
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # -- ends and times ----------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Write the last bytes, say that there will be no more, and wait a little for the peer to close."""
        if self._left():
            return
        self.stage = Stage.LEAVING
        self._server.is_client(self)
        if self._transport.is_closing():
            return
        if self._tls is not None:
            self._transport.write(self._tls.close())
        try:
            self._transport.write_eof()
        except OSError:  # the peer has reset the connection, and asyncio has not noticed yet
            self._transport.abort()
            return
        self._transport.resume_reading()
        self._limit(LINGER_SECONDS)

    def _end_half_open(self) -> None:
        """The peer has shown what it is: no time limit of ours applies any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.stage = Stage.AUTHORIZER
        self._server.is_client(self)

    def _limit(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._too_late, seconds)

    def _too_late(self, seconds: float) -> None:
        if self.stage is Stage.LEAVING:
            self._transport.abort()
            return
        where = self._front.progress if self.stage is Stage.FRONT else self.stage.value
        self.turn_away(TurnAway("too_slow", None, f"the client was silent or too slow for {seconds:g} s, {where}"))

    def _happened(self, event: Event) -> None:
        self._server.log.append(event)


_SHAKING = frozenset({Stage.TLS, Stage.HTTP, Stage.CONNECT})


def _acknowledge_now(transport: asyncio.Transport) -> None:
    """Have the system acknowledge at once what has come, and what comes next.

    A client that lets TCP gather small writes (the default, and what awscrt does) holds back the last message of its
    handshake, and then its CONNECT, until what it wrote before is acknowledged. Linux would take 40 ms for each.
    """
    quick_acknowledge = getattr(socket, "TCP_QUICKACK", None)  # Linux only
    if quick_acknowledge is not None:
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, quick_acknowledge, 1)
