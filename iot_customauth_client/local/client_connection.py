"""One TCP connection of the local endpoint: bytes from the socket through front and TLS to what is spoken inside.

::

    FRONT ──ClientHello──> TLS ──ALPN mqtt──> CONNECT ──> AUTHORIZER ──granted──> LIVE
      │                     │                    ^            │                    │
      │                     │                    │101         │                    │
      │                     └──no ALPN──> HTTP ──┴──> AUTHORIZER ──> IDLE ──> HTTP │
      └──── turned away ────┴──────────────┴───── refused ────┴─────── hung up ────┴──> LEAVING ──> (closed)

Every stage that waits for the peer has a time limit (`time_limits.py`) but LIVE, which has the keep alive. LEAVING has
written its last bytes.

This file knows how far a connection has come and nothing else: the socket is its `TcpStream`, what is spoken inside TLS
a `Talk`, MQTT or HTTP. It creates no task; its one timer is cancelled when it changes stage or ends.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .. import limits
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
from .reading import Pause
from .talk import HALF_OPEN, Stage, Talk
from .tcp import DropKind
from .tcp_stream import TcpStream
from .time_limits import seconds_for
from .tls import TlsError, TlsStream, alert
from .turns import Backlog, Taker

if TYPE_CHECKING:
    from .server import Server

MAX_UNSENT_BYTES: Final = 32 * 1024 * 1024
"""What may wait for a peer that does not read; beyond that it is cut off."""

_LEAVING: Final = Stage.LEAVING  # asked for each message: with Python 3.11 ten times as fast as the attribute


class ClientConnection:
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
        self._timer: asyncio.TimerHandle | None = None
        self._tcp: Final = TcpStream(self, server.inbox)

    @property
    def protocol(self) -> asyncio.BaseProtocol:
        """What asyncio is to tell of the socket."""
        return self._tcp

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

    # -- called by the stream ----------------------------------------------------------------------------------------

    def opened(self, source_ip: str | None, peer: str) -> None:
        """Begin."""
        self.source_ip = source_ip
        self._happened(Opened(self.number, peer))
        self._limit()
        self.server.opened(self)

    def received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        if self.stage is Stage.FRONT:
            self._receive_front(data)
        else:
            self._receive_tls(data)
        self.server.flush()

    def peer_reads(self) -> None:
        """Note that the peer has read most of what waited for it."""
        self.server.unread.forget(self.number)

    def ended(self) -> None:
        """Clean up; the one place through which every connection goes at last."""
        self._no_limit()
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
        if not self.left:
            self._tcp.hold(seconds)

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
            self._tcp.write(alert(turn_away.alert))
        self.leave()

    def close(self) -> None:
        """End in good order, without a word in the log and without waiting for the peer: the endpoint stops."""
        self._tcp.speak_again()
        self.leave()
        self._tcp.close()

    def abort(self) -> None:
        """End at once; what was not sent, and not dealt with, is lost."""
        self.stage = Stage.LEAVING
        self._backlog.clear()
        self._tcp.abort()

    # -- faults that a test asks for --------------------------------------------------------------------------------

    def drop(self, how: DropKind) -> None:
        """End the TCP connection at once, without a word of TLS or MQTT: by a reset, or by an end of the stream."""
        if how == "fin":
            self._tcp.speak_again()
            self.leave(farewell=False)
            return
        self._tcp.reset_when_closed()
        self.abort()

    def fall_silent(self) -> None:
        """Read and answer nothing any more, while the TCP connection stays."""
        self._tcp.fall_silent()
        self._backlog.clear()
        self._no_limit()
        self.server.peers.let_in(self.number)

    def end_if_peer_has(self) -> None:
        """Abort a silent connection whose peer has closed: nothing else would notice that."""
        if self._tcp.is_dead:
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
            self._tcp.acknowledge_now()
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
            self._tcp.write(error.to_write)
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
        if self.left or self._tcp.silent or self._tls is None or self._broken is not None:
            return
        self._put(self._tls.send(plaintext))

    def pause(self) -> None:
        """Read nothing more from the peer, unless it was left: then all that comes is discarded."""
        if not self.left:
            self._tcp.reading.pause(Pause.AHEAD)

    def resume(self) -> None:
        """Read again."""
        self._tcp.reading.resume(Pause.AHEAD)

    def do_first(self, taker: Taker, data: bytes) -> None:
        """Have bytes dealt with before all that has come since, as fast as turns allow; the socket waits meanwhile."""
        if self.left or self._tcp.silent:
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
        self._no_limit()
        self.stage = Stage.AUTHORIZER
        self.server.peers.asks(self.number)

    @property
    def unsent_bytes(self) -> int:
        """What waits for the peer to read."""
        return self._tcp.unsent_bytes

    def _put(self, data: bytes) -> None:
        """Write bytes to the socket, as long as the peer reads them; nothing once asyncio knows that it is gone."""
        unsent = self._tcp.write(data)
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
            self._tcp.reading.pause(Pause.TURN)
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
        self._tcp.reading.resume(Pause.TURN)
        if self._tls is not None and self._tls.eof and not (self.left or self._tcp.silent):
            self.server.flush()
            self._tcp.close()

    # -- ends and times ----------------------------------------------------------------------------------------------

    def leave(self, *, farewell: bool = True) -> None:
        """Write the last bytes, say that there will be no more, and wait a little for the peer to close.

        farewell: end the protocols inside TCP in good order too.
        """
        if self.left or self._tcp.silent:
            return
        if farewell and self._talk is not None and not self._tcp.is_closing and (last := self._talk.farewell()):
            self.write(last)
            if self.left:
                return
        self.stage = Stage.LEAVING
        self._backlog.clear()
        self.server.peers.leaves(self.number)
        self._no_limit()
        if self._tls is not None and farewell:
            self._tcp.write(self._tls.close())
        self._tcp.finish()

    def _limit(self) -> None:
        """Begin the time limit of the present stage."""
        self._no_limit()
        seconds = seconds_for(self.stage)
        self._timer = self._loop.call_later(seconds, self._too_late, seconds)

    def _no_limit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self, seconds: float) -> None:
        if self.stage is Stage.IDLE:
            self.leave()
            return
        self.turn_away(
            TurnAway("too_slow", None, f"the client was silent or too slow for {seconds:g} s, {self._where}")
        )

    def _happened(self, event: Event) -> None:
        self.server.log.append(event)


_SHAKING = frozenset({Stage.TLS, Stage.HTTP, Stage.IDLE, Stage.CONNECT})
