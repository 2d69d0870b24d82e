"""One TCP connection of the local endpoint: bytes from the socket through front and TLS to what is spoken inside.

::

    FRONT ──ClientHello──> TLS ──ALPN mqtt──> CONNECT ──> AUTHORIZER ──granted──> LIVE
      │                     │                    ^            │                    │
      │                     │                    │101         │                    │
      │                     └──no ALPN──> HTTP ──┴──> AUTHORIZER ──> IDLE ──> HTTP │
      └──── turned away ────┴──────────────┴───── refused ────┴─────── hung up ────┴──> LEAVING ──> (closed)

Every stage that waits for the peer has a time limit but LIVE, which has the keep alive. LEAVING has written its last
bytes and discards what still comes, for a time (`time_limits.py`): closing a socket with unread bytes in it would take
the last answer away from the peer.

This file owns the socket of one connection and nothing else: what is spoken inside TLS is a `Talk`, MQTT or HTTP. It
creates no task; its one timer is cancelled when it changes stage or ends.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from .. import limits
from . import tcp
from .authentication import Authentication
from .client_hello import ClientHello
from .codec import Packet
from .doors import Alert, Door, TurnAway
from .events import Closed, Event, Handshake, Opened, TurnedAway
from .events import Proxied as ProxiedEvent
from .front import Front, Hello, Proxied
from .http_head import Reply
from .http_talk import HttpTalk
from .mqtt_talk import MqttTalk
from .peers import Eviction
from .pipes import PlainPipe
from .reading import Pause, Reading
from .talk import HALF_OPEN, Stage, Talk
from .time_limits import seconds_for
from .tls import TlsError, TlsStream, alert
from .turns import Backlog, Taker

if TYPE_CHECKING:
    from .server import Server

MAX_UNSENT_BYTES: Final = 32 * 1024 * 1024
"""What may wait for a peer that does not read; beyond that it is cut off."""
READ_BYTES: Final = 16_384
"""What is read of one connection before the others have their turn: one TLS record. Of the smallest packets, frames
or chunks that is some 30 ms of work; 256 KiB, asyncio's own measure, would be half a second."""

_LEAVING: Final = Stage.LEAVING  # asked for each message: with Python 3.11 ten times as fast as the attribute


class ClientConnection(asyncio.BufferedProtocol):
    """One accepted connection. All its methods run on the event loop's thread."""

    evicted: Eviction | None = None
    """Why the endpoint ended it to make room. Of the class, as the next: most connections need no place for it."""
    _broken: TlsError | None = None

    def __init__(self, server: Server, number: int) -> None:
        self.number: Final = number
        self.server: Final = server
        self.stage = Stage.FRONT
        self.source_ip: str | None = None
        self.is_hanging_up = False
        """Whether it leaves once this turn's output is written."""
        self._loop = server.loop
        self.domain = server.domains.default
        """The domain configuration that answers; known once the ClientHello is."""
        self._front: Front | None = Front(
            server.domains.served, ports=(limits.SERVICE_PORT, server.port), ports_of=server.domains.ports
        )
        self._offer: ClientHello | None = None
        self._door = Door.MQTT
        self._tls: TlsStream | None = None
        self._talk: Talk | None = None
        self._backlog = Backlog(server.turns)
        self._next_turn: asyncio.Handle | None = None
        self._silent = False
        self._holding: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # set by connection_made, before all else
        self._reading: Reading = cast("Reading", None)  # likewise

    @property
    def left(self) -> bool:
        """Whether nothing is sent and received any more."""
        return self.stage is _LEAVING

    @property
    def has_backlog(self) -> bool:
        """Whether it has sent more than was dealt with."""
        return bool(self._backlog)

    @property
    def server_name(self) -> str | None:
        """SNI as the client sent it."""
        return self._offer.server_name if self._offer else None

    @property
    def authentication(self) -> Authentication:
        """How clients of this connection's domain are authenticated."""
        return self.server.authentication_of(self.domain)

    # -- called by asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. asyncio has set TCP_NODELAY on the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self._reading = Reading(self._transport)
        peer = cast("tuple[str, int] | None", transport.get_extra_info("peername"))
        self.source_ip, port = peer[:2] if peer else (None, 0)
        host = f"[{self.source_ip}]" if self.source_ip and ":" in self.source_ip else self.source_ip
        self._happened(Opened(self.number, f"{host}:{port}" if peer else "unknown"))
        self._limit()
        self.server.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the socket's bytes go: one buffer for all connections, emptied before the next one is read."""
        del sizehint
        return self.server.inbox

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the socket gave."""
        self.data_received(bytes(self.server.inbox[:nbytes]))

    def resume_writing(self) -> None:
        """Note that the peer has read most of what waited for it."""
        self.server.unread.forget(self.number)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        if self._silent:
            return
        match self.stage:
            case Stage.LEAVING:
                return
            case Stage.FRONT:
                self._receive_front(data)
            case _:
                self._receive_tls(data)
        self.server.flush()

    def eof_received(self) -> None:
        """Let asyncio close the connection: nothing is sent to a peer that has ended its side."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up; the one place through which every connection goes at last."""
        del exc  # asyncio gives the reset or broken pipe; for the client it is lost all the same
        for timer in (self._timer, self._holding):
            if timer is not None:
                timer.cancel()
        self._backlog.clear()
        self._end_turn()
        if self.stage in HALF_OPEN:
            self._happened(TurnedAway(self.number, "closed_early", f"the client closed the connection {self._where}"))
        self.stage = Stage.LEAVING
        if self._talk is not None:
            self._talk.forget()
        self.server.closed(self)
        self._happened(Closed(self.number))
        self.server.flush()

    # -- called by the server ----------------------------------------------------------------------------------------

    def send(self, packet: Packet) -> None:
        """Put a packet into this turn's output; `flush` writes it."""
        if self._talk is not None and not (self.left or self.is_hanging_up):
            self._talk.send(packet)
            self.server.has_output(self)

    def hang_up(self) -> None:
        """Leave once this turn's output is written."""
        self.is_hanging_up = True
        self.server.has_output(self)

    def hold(self, seconds: float) -> None:
        """Read nothing for so long: the client has used up its throughput."""
        if self.left:
            return
        if self._holding is not None:
            self._holding.cancel()
        self._reading.pause(Pause.THROUGHPUT)
        self._holding = self._loop.call_later(seconds, self._reading.resume, Pause.THROUGHPUT)

    def flush(self) -> None:
        """Write this turn's output with one call, as few TLS records as possible."""
        if self.left or self._talk is None:
            return
        plaintext = self._talk.output()
        if plaintext:
            self.write(plaintext)
        if self.is_hanging_up:
            self.leave()

    def turn_away(self, turn_away: TurnAway) -> None:
        """End a connection that is not a client yet, with an alert if TLS has not begun."""
        self._happened(TurnedAway(self.number, turn_away.cause, turn_away.explanation))
        if turn_away.alert is not None and self._tls is None:
            self._transport.write(alert(turn_away.alert))
        self.leave()

    def close(self) -> None:
        """End in good order, without a word in the log and without waiting for the peer: the endpoint stops."""
        self._silent = False
        self.leave()
        self._transport.close()

    def abort(self) -> None:
        """End at once; what was not sent, and not dealt with, is lost."""
        self.stage = Stage.LEAVING
        self._backlog.clear()
        self._transport.abort()

    # -- faults that a test asks for --------------------------------------------------------------------------------

    def drop(self, how: tcp.DropKind) -> None:
        """End the TCP connection at once, without a word of TLS or MQTT: by a reset, or by an end of the stream."""
        if how == "fin":
            self._silent = False
            self.leave(farewell=False)
            return
        tcp.reset_when_closed(self._transport)
        self.abort()

    def fall_silent(self) -> None:
        """Read and answer nothing any more, while the TCP connection stays."""
        self._silent = True
        self._backlog.clear()
        self._reading.pause(Pause.SILENT)
        if self._timer is not None:
            self._timer.cancel()
        self.server.peers.let_in(self.number)

    def end_if_peer_has(self) -> None:
        """Abort a silent connection whose peer has closed: nothing else would notice that."""
        if self._silent and tcp.peer_has_closed(self._transport):
            self.abort()

    # -- before MQTT -------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        """How far the client has come, as the end of a sentence."""
        return self._front.progress if self._front is not None else self.stage.value

    def _receive_front(self, data: bytes) -> None:
        if self._front is None:
            return
        for output in self._front.receive(data):
            match output:
                case Reply():
                    self._put(output.data)
                case Proxied():
                    self._happened(ProxiedEvent(self.number, output.target))
                case TurnAway():
                    self.turn_away(output)
                case Hello():
                    self._choose_door(output)

    def _choose_door(self, hello: Hello) -> None:
        offer = self._offer = hello.client_hello
        name_in_host = self.server.choices.name_in_host == "taken"
        chosen = self.server.domains.choose(offer.server_name, offer.alpn, name_in_host=name_in_host)
        if isinstance(chosen, TurnAway):
            self._turn_away_at_hello(chosen)
            return
        self.domain, self._door = chosen
        self._front = None  # most connections are idle: they keep nothing that only their beginning needs
        self._tls = TlsStream(self.server.contexts[self._door])
        self.stage = Stage.TLS
        self._receive_tls(hello.received)

    def _turn_away_at_hello(self, turn_away: TurnAway) -> None:
        """Turn a ClientHello away; for one without a served name the choices say how."""
        how = self.server.choices.unknown_server_name if turn_away.alert is Alert.UNRECOGNIZED_NAME else "alert"
        if how == "reset":
            self._happened(TurnedAway(self.number, turn_away.cause, turn_away.explanation))
            self.drop("rst")
        else:
            self.turn_away(turn_away if how == "alert" else replace(turn_away, alert=None))

    def _receive_tls(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            return
        try:
            received = tls.receive(data)
        except TlsError as error:
            if error.plaintext and self.stage is Stage.TLS:  # the end of the handshake came with it
                self._handshake_done(tls)
            self._tls_broke(error)
            return
        if received.to_write:
            self._put(received.to_write)  # answers of TLS itself: whoever asks for them without end has to read them
            if self.left:
                return
        if self.stage is Stage.TLS and tls.handshake_done:
            self._handshake_done(tls)
        if self.stage in _SHAKING:
            tcp.acknowledge_now(self._transport)
        if received.plaintext and self._talk is not None:
            if len(received.plaintext) <= self.server.turns.piece_bytes and not self._backlog:
                self._talk.receive(received.plaintext)
            else:
                self._backlog.put(self._hand_on, received.plaintext)
                self._backlog.work()
        self._after_work()

    def _tls_broke(self, error: TlsError) -> None:
        """Note that nothing can be sent and received any more; what a client had sent before still counts."""
        self._broken = error
        if error.to_write:
            self._transport.write(error.to_write)
        if error.plaintext:  # it would count had it been read by itself
            self._backlog.put(self._hand_on, error.plaintext)
            self._backlog.work()
        self._after_work()

    def _tls_failed(self, error: TlsError) -> None:
        self.server.flush()  # a client that has said goodbye leaves now
        if self.left:
            return
        self._talk = None
        if self.stage in HALF_OPEN:
            self.turn_away(TurnAway(error.cause, None, error.explanation))
        else:
            self.server.cut_off(self, error.explanation)

    def _handshake_done(self, tls: TlsStream) -> None:
        offer = self._offer
        server_name, offered = (offer.server_name, offer.alpn) if offer else (None, ())
        if self._door is Door.MQTT:
            self._talk, self.stage = MqttTalk(self, PlainPipe()), Stage.CONNECT
        else:
            self._talk, self.stage = HttpTalk(self), Stage.HTTP
        self._limit()
        self._happened(Handshake(self.number, server_name, offered, tls.alpn, tls.version or "", self.domain.name))

    # -- called by the talk ------------------------------------------------------------------------------------------

    def write(self, plaintext: bytes) -> None:
        """Send plaintext now."""
        if self.left or self._silent or self._tls is None or self._broken is not None:
            return
        self._put(self._tls.send(plaintext))

    def pause(self) -> None:
        """Read nothing more from the peer, unless it was left: then all that comes is discarded."""
        if not self.left:
            self._reading.pause(Pause.AHEAD)

    def resume(self) -> None:
        """Read again."""
        self._reading.resume(Pause.AHEAD)

    def do_first(self, taker: Taker, data: bytes) -> None:
        """Have bytes dealt with before all that has come since, as fast as turns allow; the socket waits meanwhile."""
        if self.left or self._silent:
            return
        self._backlog.put_first(taker, data)
        self._want_turn()

    def become(self, talk: Talk, stage: Stage, received: bytes) -> None:
        """Go on with another talk, which is given what the present one received for it; that may be much."""
        self._talk = talk
        self.enter(stage)
        self.do_first(self._hand_on, received)
        self.resume()

    def enter(self, stage: Stage) -> None:
        """Wait for the peer, in a stage that has a time limit."""
        self.stage = stage
        self.server.peers.is_awaited(self.number)
        self._limit()

    def heard(self) -> None:
        """Note that the peer has said something whole: no time limit of ours applies while it is dealt with."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.stage = Stage.AUTHORIZER
        self.server.peers.asks(self.number)

    @property
    def unsent_bytes(self) -> int:
        """What waits for the peer to read."""
        return self._transport.get_write_buffer_size()

    def _put(self, data: bytes) -> None:
        """Write bytes to the socket, as long as the peer reads them; nothing once asyncio knows that it is gone."""
        if self._transport.is_closing():
            return
        self._transport.write(data)
        unsent = self._transport.get_write_buffer_size()
        if unsent > MAX_UNSENT_BYTES:
            self.server.cut_off(self, f"the client does not read: {MAX_UNSENT_BYTES:,} bytes wait for it")
        elif unsent:
            self.server.wrote(self, unsent)

    # -- turns -------------------------------------------------------------------------------------------------------

    def _hand_on(self, plaintext: bytes) -> None:
        if self._talk is not None:
            self._talk.receive(plaintext)

    def _want_turn(self) -> None:
        if self._next_turn is None:
            self._reading.pause(Pause.TURN)
            self._next_turn = self._loop.call_soon(self._take_turn)
            self.server.turns.unfinished += 1

    def _end_turn(self) -> None:
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
            self.server.turns.unfinished -= 1

    def _take_turn(self) -> None:
        self._end_turn()
        if not self.left:
            self._backlog.work()
            self._after_work()
        self.server.flush()

    def _after_work(self) -> None:
        """Wait for another turn if there is more to do; else read on, or end if the peer has."""
        if self._backlog and not self.left:
            self._want_turn()
            return
        if self._broken is not None:
            self._tls_failed(self._broken)
            return
        self._reading.resume(Pause.TURN)
        if self._tls is not None and self._tls.eof and not (self.left or self._silent):
            self.server.flush()
            self._transport.close()

    # -- ends and times ----------------------------------------------------------------------------------------------

    def leave(self, *, farewell: bool = True) -> None:
        """Write the last bytes, say that there will be no more, and wait a little for the peer to close.

        farewell: end the protocols inside TCP in good order too.
        """
        if self.left or self._silent:
            return
        if farewell and self._talk is not None and not self._transport.is_closing() and (last := self._talk.farewell()):
            self.write(last)
            if self.left:
                return
        self.stage = Stage.LEAVING
        self._backlog.clear()
        self.server.peers.leaves(self.number)
        if self._transport.is_closing():
            return
        if self._tls is not None and farewell:
            self._transport.write(self._tls.close())
        try:
            self._transport.write_eof()
        except OSError:  # the peer has reset the connection, and asyncio has not noticed yet
            self._transport.abort()
            return
        self._reading.resume_all()
        self._limit()

    def _limit(self) -> None:
        """Begin the time limit of the present stage."""
        seconds = seconds_for(self.stage)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._too_late, seconds)

    def _too_late(self, seconds: float) -> None:
        if self.stage is Stage.LEAVING:
            self._transport.abort()
            return
        if self.stage is Stage.IDLE:
            self.leave()
            return
        self.turn_away(
            TurnAway("too_slow", None, f"the client was silent or too slow for {seconds:g} s, {self._where}")
        )

    def _happened(self, event: Event) -> None:
        self.server.log.append(event)


_SHAKING = frozenset({Stage.TLS, Stage.HTTP, Stage.IDLE, Stage.CONNECT})
