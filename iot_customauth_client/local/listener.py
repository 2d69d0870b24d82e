"""The endpoint's listening socket, which can be taken away for a while without losing its port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from .listening_socket import cannot_listen, listen

BACKLOG: Final = 1_024
"""Connections that the system may hold before they are accepted."""
ACCEPTS_PER_TURN: Final = 64
"""Connections that are accepted before those that are there have their turn. So often asyncio tries, too, and says so,
when there are no more files."""

_TURNS_TO_ANNOUNCE: Final = 2  # one makes the transport, the next calls connection_made


class Listener:
    """Accepts connections, or refuses them while it is interrupted. On the loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make_protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop: Final = loop
        self._make_protocol: Final = make_protocol
        self._address: tuple[str, int] = ("", 0)
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None

    async def start(self, bound: socket.socket) -> None:
        """Accept connections on a bound socket, which is the listener's from now on."""
        self._address = bound.getsockname()[:2]
        self._server = await self._loop.create_server(self._make_protocol, sock=bound, backlog=ACCEPTS_PER_TURN)
        bound.listen(BACKLOG)  # asyncio takes one number for both

    @property
    def interrupted(self) -> bool:
        """Whether the system refuses connections to this port at present."""
        return self._reserved is not None

    async def interrupt(self) -> None:
        """Listen no more: whoever connects is refused.

        The port stays bound, so that the system gives it to nobody who asks for any free one.
        """
        if self._server is not None:
            await self._stop(self._server)
            self._reserved = listen(*self._address)

    async def resume(self) -> None:
        """Listen again on the same port. Raises OSError, and stays interrupted, if somebody has taken it by force."""
        if self._reserved is None:
            return
        try:
            await self.start(self._reserved)
        except OSError as error:
            raise cannot_listen(error, *self._address) from error
        self._reserved = None

    async def close(self) -> None:
        """Give the port away. Whatever was accepted before has been announced when this returns."""
        if self._server is not None:
            await self._stop(self._server)
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def _stop(self, server: asyncio.Server) -> None:
        """Accept nothing more, then close the listening socket.

        asyncio announces a connection a turn after it has accepted it, and loses it, socket and all, if the listener
        is closed in between.
        """
        self._server = None
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(_TURNS_TO_ANNOUNCE):
            await asyncio.sleep(0)
        server.close()
