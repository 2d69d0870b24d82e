"""What the connections of a running endpoint share: the broker, the authorizers, the log, and one turn's output.

Lives on one event loop's thread. The broker answers with effects, which may concern any connection: `perform` carries
them out in order, `flush` then writes what each connection was sent in this turn, once. Whoever calls `perform` calls
`flush` before the turn ends.

It never blocks and never raises because of what one peer does.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from .. import limits
from ..authorizer.event import AuthorizerEvent
from .authentication import Authentication, Question
from .authorizer_calls import Answer, AuthorizerCalls
from .authorizer_files import function_source
from .authorizers import LocalAuthorizer
from .broker import Broker
from .client_connection import ClientConnection
from .dialogue import RefusedSubscribe311
from .doors import Door, ServedNames, TurnAway
from .effects import Effect, HangUp, Happened, Send
from .event_log import EventLog
from .lambda_context import LambdaContext
from .place import Place
from .redaction import scrub

if TYPE_CHECKING:
    import ssl
    import threading

log = logging.getLogger(__name__)

EXPIRE_SECONDS: Final = 1.0
"""How often keep alives are looked at."""
BACKLOG: Final = 1_024
"""Connections that the system may hold before they are accepted."""
CLOSE_SECONDS: Final = 1.0
"""How long connections may take to end in good order when the endpoint stops."""
MAX_HALF_OPEN: Final = 4_096
"""Connections that are not clients yet; see `_half_open_limit`."""


class Server:
    """All connections of one endpoint."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        event_log: EventLog,
        served: ServedNames,
        contexts: Mapping[Door, ssl.SSLContext],
        authorizers: Mapping[str, LocalAuthorizer],
        default_authorizer: str | None,
        place: Place,
        refused_subscribe_311: RefusedSubscribe311,
        show_secrets: bool,
    ) -> None:
        self.loop: Final = loop
        self.log: Final = event_log
        self.served: Final = served
        self.contexts: Final = contexts
        self.place: Final = place
        self.show_secrets: Final = show_secrets
        self.port = 0
        self.authentication: Final = Authentication(authorizers, default_authorizer)
        self.broker: Final = Broker(
            region=place.arn_region, account=place.arn_account, refused_subscribe_311=refused_subscribe_311
        )
        self._calls = {
            name: AuthorizerCalls(function_source(authorizer), loop, scrub=_as_it_is if show_secrets else scrub)
            for name, authorizer in authorizers.items()
        }
        self._connections: dict[int, ClientConnection] = {}
        self._half_open: dict[int, ClientConnection] = {}
        self._max_half_open = _half_open_limit()
        self._outputs: dict[int, ClientConnection] = {}
        self._last_number = 0
        self._listener: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._all_closed = asyncio.Event()
        self._closing = False

    async def start(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket, and load the authorizers' files."""
        self.port = listening.getsockname()[1]
        self._listener = await self.loop.create_server(self._accept, sock=listening, backlog=BACKLOG)
        self._timer = self.loop.call_later(EXPIRE_SECONDS, self._expire)
        for calls in self._calls.values():
            calls.warm_up()

    async def close(self) -> list[threading.Thread]:
        """End everything, within about `CLOSE_SECONDS`; returns the authorizers' threads that still run."""
        if self._listener is not None:
            await self._stop_listening(self._listener)
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        now = self.loop.time()
        for number in list(self._connections):
            self.perform(self.broker.shut_down(number, now=now, at=now))
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

    async def _stop_listening(self, listener: asyncio.Server) -> None:
        """Accept nothing more, then close the listening socket.

        asyncio announces a connection a turn after it has accepted it, and loses it, socket and all, if the listener
        is closed in between. The tasks that announce are the only ones of this loop beside the caller.
        """
        for listening in listener.sockets:
            self.loop.remove_reader(listening.fileno())
        announcing = asyncio.all_tasks() - {asyncio.current_task()}
        if announcing:
            await asyncio.wait(announcing, timeout=CLOSE_SECONDS)
        listener.close()

    @property
    def stuck_calls(self) -> int:
        """Calls of authorizer functions that were given up and still run."""
        return sum(calls.abandoned for calls in self._calls.values())

    # -- what connections call ---------------------------------------------------------------------------------------

    def opened(self, connection: ClientConnection) -> None:
        """Take a new connection in; too many half-open ones cost the oldest of them its place."""
        if self._closing:  # accepted a moment before the listening socket was closed
            connection.abort()
            return
        self._connections[connection.number] = connection
        self._half_open[connection.number] = connection
        if len(self._half_open) > self._max_half_open:
            oldest = next(iter(self._half_open.values()))
            oldest.turn_away(
                TurnAway(
                    "too_many_half_open",
                    None,
                    f"{self._max_half_open:,} connections have sent no CONNECT yet; the oldest of them is closed",
                )
            )

    def is_client(self, connection: ClientConnection) -> None:
        """The connection does not count as half-open any more."""
        self._half_open.pop(connection.number, None)

    def closed(self, connection: ClientConnection) -> None:
        """The transport of a connection has ended."""
        self._half_open.pop(connection.number, None)
        self._outputs.pop(connection.number, None)
        if self._connections.pop(connection.number, None) is not None:
            now = self.loop.time()
            self.perform(self.broker.closed(connection.number, now=now, at=now))
        if not self._connections:
            self._all_closed.set()

    def cut_off(self, connection: ClientConnection, why: str) -> None:
        """End a client's connection at once, because of what its transport does."""
        log.warning("connection %d is cut off: %s", connection.number, why)
        connection.abort()

    def ask(self, question: Question, done: Callable[[Answer], None]) -> None:
        """Have the authorizer's function called."""
        context = LambdaContext(
            question.authorizer.function_name,
            region=self.place.arn_region,
            account=self.place.arn_account,
            timeout_seconds=limits.AUTHORIZER_TIMEOUT_SECONDS,
        )
        self._calls[question.name].call(question.event, context, done)

    # -- effects -----------------------------------------------------------------------------------------------------

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry effects out in order."""
        for effect in effects:
            match effect:
                case Send():
                    connection = self._connections.get(effect.connection)
                    if connection is not None:
                        connection.send(effect.packet)
                case Happened():
                    self.log.append(effect.event)
                case HangUp():
                    connection = self._connections.get(effect.connection)
                    if connection is not None:
                        connection.hang_up()

    def has_output(self, connection: ClientConnection) -> None:
        """Remember that `flush` has something to do for this connection."""
        self._outputs[connection.number] = connection

    def flush(self) -> None:
        """Write the output of this turn."""
        while self._outputs:  # a connection that is cut off may leave a will to be delivered
            outputs, self._outputs = self._outputs, {}
            for connection in outputs.values():
                connection.flush()

    # -- the loop's own ----------------------------------------------------------------------------------------------

    def _accept(self) -> ClientConnection:
        self._last_number += 1
        return ClientConnection(self, self._last_number)

    def _expire(self) -> None:
        self._timer = self.loop.call_later(EXPIRE_SECONDS, self._expire)
        now = self.loop.time()
        self.perform(self.broker.expire(now, now))
        self.flush()


def _as_it_is(text: str, event: AuthorizerEvent) -> str:
    del event
    return text


def _half_open_limit() -> int:
    """Half of the file descriptors that the process may open: the other half is for clients."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_HALF_OPEN if soft == resource.RLIM_INFINITY else min(MAX_HALF_OPEN, max(64, soft // 2))
