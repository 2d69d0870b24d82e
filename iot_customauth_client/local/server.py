"""What the connections of a running endpoint share: the broker, the authorizers, the log, and one turn's output.

Lives on one event loop's thread. The broker answers with effects, which may concern any connection: `perform` carries
them out in order, `flush` then writes what each connection was sent in this turn, once. Whoever calls `perform` calls
`flush` before the turn ends.

It never blocks and never raises because of what one peer does.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from .. import limits
from ..authorizer.event import AuthorizerEvent
from .authentication import Authentication, Question
from .authorizer_calls import Answer, AuthorizerCalls
from .authorizer_files import function_source
from .broker import Broker
from .client_connection import ClientConnection
from .domains import Domain
from .doors import Door
from .effects import Effect, HangUp, Happened, Hold, Send
from .endpoint_settings import EndpointSettings
from .event_log import EventLog
from .events import Acknowledged, Connected, Delivered, Disconnected, Event, Published, TurnedAway
from .faults import Faults
from .lambda_context import LambdaContext
from .listener import Listener
from .network_faults import NetworkFaults
from .offence import DisconnectReason
from .peers import Eviction, PeerLimits, Peers
from .peers_unread import MAX_UNREAD_BYTES, Unread
from .redaction import scrub
from .tcp_stream import READ_BYTES
from .timekeeper import Timekeeper
from .turns import Turns

if TYPE_CHECKING:
    import ssl
    import threading

    from ..authorizer.result import AuthorizerResult

log = logging.getLogger(__name__)

EXPIRE_SECONDS: Final = 1.0
"""How often keep alives are looked at."""
CLOSE_SECONDS: Final = 1.0
"""How long connections may take to end in good order when the endpoint stops."""
ACCEPT_AGAIN_SECONDS: Final = 1.0
"""After how long asyncio accepts again when there were no more files."""
_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_QUIET: Final = frozenset({Published.kind, Delivered.kind, Acknowledged.kind})


class Server:
    """All connections of one endpoint."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        turns: Turns,
        settings: EndpointSettings,
        *,
        event_log: EventLog,
        contexts: Mapping[Door, ssl.SSLContext],
        faults: Faults,
    ) -> None:
        self.loop: Final = loop
        self.turns: Final = turns
        self.log: Final = event_log
        self.domains: Final = settings.domains
        self.contexts: Final = contexts
        self.place: Final = settings.place
        self.choices: Final = settings.choices
        self.show_secrets: Final = settings.show_secrets
        self.port = 0
        self._authentications: Final = {
            domain.name: Authentication(
                settings.authorizers,
                domain.default_authorizer,
                settings.choices,
                may_name=domain.may_name,
                domain=domain.name,
            )
            for domain in settings.domains
        }
        self.broker: Final = Broker(
            region=settings.place.arn_region,
            account=settings.place.arn_account,
            refused_subscribe_311=settings.refused_subscribe_311,
            quotas=settings.quotas,
            session_expiry_seconds=settings.session_expiry_seconds,
            choices=settings.choices,
            faults=faults,
        )
        self.timekeeper: Final = Timekeeper(self, settings.clock)
        clean = _as_it_is if settings.show_secrets else scrub
        self._calls = {
            name: AuthorizerCalls(function_source(authorizer), loop, scrub=clean)
            for name, authorizer in settings.authorizers.items()
        }
        self._connections: dict[int, ClientConnection] = {}
        self.inbox: Final = memoryview(bytearray(READ_BYTES))
        """Where the bytes of whichever connection is being read are put."""
        self.peers: Final = Peers(
            PeerLimits.of(
                _open_files(),
                connections_per_address=settings.max_connections_per_address,
                half_open_per_address=settings.max_half_open_per_address,
            )
        )
        self.unread: Final = Unread(self._unsent_bytes_of)
        self._live: dict[int, str] = {}
        self._outputs: dict[int, ClientConnection] = {}
        self._happenings: list[Event] = []
        self._last_number = 0
        self._listener: Final = Listener(loop, self._accept)
        self.network_faults: Final = NetworkFaults(self._listener, self._connections, self._live)
        self._timer: asyncio.TimerHandle | None = None
        self._all_closed = asyncio.Event()
        self._closing = False
        self._accepting_again_at = 0.0

    async def start(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket, and load the authorizers' files."""
        self.port = listening.getsockname()[1]
        self.loop.set_exception_handler(self._on_loop_error)
        await self._listener.start(listening)
        self._timer = self.loop.call_later(EXPIRE_SECONDS, self._expire)
        for calls in self._calls.values():
            calls.warm_up()

    async def close(self) -> list[threading.Thread]:
        """End everything, within about `CLOSE_SECONDS`; returns the authorizers' threads that still run."""
        await self._listener.close()
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self.timekeeper.close()
        for number in list(self._connections):
            self.perform(self.broker.shut_down(number, now=self.loop.time(), at=self.at()))
        self.flush()
        for connection in list(self._connections.values()):
            connection.close()
        if self._connections:
            self._all_closed.clear()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._all_closed.wait()
            except TimeoutError:
                for connection in list(self._connections.values()):
                    connection.abort()
                await asyncio.sleep(0)  # let asyncio call connection_lost
        return [thread for calls in self._calls.values() for thread in calls.close()]

    @property
    def stuck_calls(self) -> int:
        """Calls of authorizer functions that were given up and still run."""
        return sum(calls.abandoned for calls in self._calls.values())

    # -- what connections call ---------------------------------------------------------------------------------------

    def opened(self, connection: ClientConnection) -> None:
        """Take a new connection in; too many of them cost one its place, see `peers.py`."""
        if self._closing:  # accepted a moment before the listening socket was closed
            connection.abort()
            return
        self._connections[connection.number] = connection
        eviction = self.peers.opened(connection.number, connection.source_ip or "")
        if eviction is not None:
            self._evict(eviction)
        self.network_faults.opened(connection)

    def wrote(self, connection: ClientConnection, unsent_bytes: int) -> None:
        """Note what waits for a peer; too much for all of them costs the slowest its connection."""
        slowest = self.unread.wrote(connection.number, unsent_bytes)
        if slowest is not None:
            self.unread.forget(slowest)
            self.cut_off(
                self._connections[slowest],
                f"{MAX_UNREAD_BYTES:,} bytes wait for clients that do not read, and most of them for this one",
            )

    def closed(self, connection: ClientConnection) -> None:
        """The transport of a connection has ended."""
        self.peers.closed(connection.number)
        self.unread.forget(connection.number)
        self._outputs.pop(connection.number, None)
        if self._connections.pop(connection.number, None) is not None:
            self.perform(self.broker.closed(connection.number, now=self.loop.time(), at=self.at()))
        if not self._connections:
            self._all_closed.set()

    def at(self) -> float:
        """Return the time that grants, sessions and connections live by: monotonic seconds of the endpoint's clock."""
        return self.timekeeper.at

    def end_client(self, connection: int, reason: DisconnectReason, explanation: str) -> None:
        """End the connection of a client, if it is connected. To be flushed by the caller's turn."""
        self.perform(self.broker.end(connection, reason, explanation, now=self.loop.time(), at=self.at()))

    def cut_off(self, connection: ClientConnection, why: str) -> None:
        """End a client's connection at once, because of what its transport does."""
        log.warning("connection %d is cut off: %s", connection.number, why)
        connection.abort()

    def authentication_of(self, domain: Domain) -> Authentication:
        """Return how clients are authenticated that have come to a domain."""
        return self._authentications[domain.name]

    def ask(self, question: Question, done: Callable[[Answer], None], *, connection: int) -> None:
        """Have the authorizer's function called for a connection; those of clients come first."""
        line = self._connections.get(connection)
        source = None if connection in self._live else (line and line.source_ip) or ""
        context = LambdaContext(
            question.authorizer.function_name,
            region=self.place.arn_region,
            account=self.place.arn_account,
            timeout_seconds=limits.AUTHORIZER_TIMEOUT_SECONDS,
        )
        self._calls[question.name].call(question.event, context, done, source=source)

    def is_connected(self, client_id: str) -> bool:
        """Whether a client of this id is connected."""
        return client_id in self._live.values()

    def keep_asking(self, connection: int, question: Question, result: AuthorizerResult, source_ip: str | None) -> None:
        """Have a client's authorizer asked again and again, if the broker has let the client in."""
        if connection in self._live:
            self.timekeeper.keep_asking(connection, question, result, source_ip)

    # -- effects -----------------------------------------------------------------------------------------------------

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry effects out in order. The events among them go into the log together, when the others are done."""
        connections = self._connections
        for effect in effects:
            if isinstance(effect, Happened):
                self._happened(effect.event)
                continue
            connection = connections.get(effect.connection)
            if connection is None:
                continue
            match effect:
                case Send():
                    connection.send(effect.packet)  # which may end a connection, and so come back here
                case HangUp():
                    connection.hang_up()
                case Hold():
                    connection.hold(effect.seconds)
        if self._happenings:
            happenings, self._happenings = self._happenings, []
            self.log.extend(happenings)

    def _happened(self, event: Event) -> None:
        self._happenings.append(event)
        if event.kind in _QUIET:
            return
        if isinstance(event, Connected):
            self._live[event.connection] = event.client_id
        elif isinstance(event, Disconnected):
            self._live.pop(event.connection, None)
            self.timekeeper.stop_asking(event.connection)

    def has_output(self, connection: ClientConnection) -> None:
        """Remember that `flush` has something to do for this connection."""
        self._outputs[connection.number] = connection

    def flush(self) -> None:
        """Do what has become due, and write the output of this turn."""
        self.timekeeper.look()
        while self._outputs:  # a connection that is cut off may leave a will to be delivered
            outputs, self._outputs = self._outputs, {}
            for connection in outputs.values():
                connection.flush()

    # -- the loop's own ----------------------------------------------------------------------------------------------

    def _evict(self, eviction: Eviction) -> None:
        """End a connection at once, so that its file is free for another one."""
        connection = self._connections.get(eviction.connection)
        if connection is None:
            return
        if not eviction.told:
            connection.evicted = eviction
            self.log.append(TurnedAway(connection.number, eviction.cause, eviction.explanation))
        connection.abort()

    def _unsent_bytes_of(self, number: int) -> int:
        connection = self._connections.get(number)
        return 0 if connection is None else connection.unsent_bytes

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Say in one line that the files are used up, and free some; asyncio accepts again after a second.

        It tells this for each connection that it tried to accept: once in that second is enough.
        """
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _NO_MORE_FILES):
            loop.default_exception_handler(context)
            return
        if loop.time() < self._accepting_again_at:
            return
        self._accepting_again_at = loop.time() + ACCEPT_AGAIN_SECONDS / 2
        evictions = self.peers.make_room()
        log.warning(
            "no connection can be accepted for a second, existing ones go on: %s; %d that were not let in are closed;"
            " raise the limit (ulimit -n)",
            error.strerror,
            len(evictions),
        )
        for eviction in evictions:
            self._evict(eviction)

    def _accept(self) -> asyncio.BaseProtocol:
        self._last_number += 1
        return ClientConnection(self, self._last_number).protocol

    def _expire(self) -> None:
        self._timer = self.loop.call_later(EXPIRE_SECONDS, self._expire)
        now = self.loop.time()
        if self.turns.unfinished:  # who waits for its turn has sent something, and with many of them for long
            for connection in self._connections.values():
                if connection.has_backlog:
                    self.broker.heard(connection.number, now)
        self.perform(self.broker.expire(now, self.timekeeper.reached))
        self.network_faults.second_passed()
        self.flush()


def _as_it_is(text: str, event: AuthorizerEvent) -> str:
    del event
    return text


def _open_files() -> int | None:
    """How many files the process may open; None for any number."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
