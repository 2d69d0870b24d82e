"""The endpoint's listening socket, which can be taken away for a while without losing its port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from .listening_socket import listen

BACKLOG: Final = 1_024
"""Connections that the system may hold before they are accepted."""


class Listener:
    """Accepts connections, or refuses them while it is interrupted. On the loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._loop: Final = loop
        self._make_protocol: Final = make_protocol
        self._address: tuple[str, int] = ("", 0)
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None

    async def start(self, bound: socket.socket) -> None:
        """Accept connections on a bound socket, which is the listener's from now on."""
        self._address = bound.getsockname()[:2]
        self._server = await self._loop.create_server(self._make_protocol, sock=bound, backlog=BACKLOG)

    @property
    def interrupted(self) -> bool:
        """Whether the system refuses connections to this port at present."""
        return self._reserved is not None

    def interrupt(self) -> None:
        """Listen no more; the port stays bound, so that nobody else can have it, and whoever connects is refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._reserved = listen(*self._address)

    async def resume(self) -> None:
        """Listen again on the same port."""
        if self._reserved is not None:
            reserved, self._reserved = self._reserved, None
            await self.start(reserved)

    def close(self) -> None:
        """Give the port away."""
        if self._server is not None:
            self._server.close()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
