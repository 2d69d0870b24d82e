"""Faults below MQTT that a test asks for: lost TCP connections, dead ones, and an endpoint that cannot be reached.

On the loop's thread only. What the broker does wrong on demand is in `faults.py`; what a test calls is in
`endpoint_faults.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from .client_connection import ClientConnection
from .tcp import DropKind

if TYPE_CHECKING:
    from .listener import Listener


class NetworkFaults:
    """What is done to the connections of one endpoint.

    connections: all of them, by number; client_ids: of those that are connected clients. Both are the server's.
    """

    def __init__(
        self, listener: Listener, connections: Mapping[int, ClientConnection], client_ids: Mapping[int, str]
    ) -> None:
        self._listener: Final = listener
        self._connections: Final = connections
        self._client_ids: Final = client_ids
        self._to_ignore = 0
        self._someone_is_silent = False

    def drop(self, client_id: str | None, how: DropKind) -> int:
        """Drop the TCP connection of a client, or of everybody for None; returns how many."""
        chosen = list(self._chosen(client_id))
        for connection in chosen:
            connection.drop(how)
        return len(chosen)

    def fall_silent(self, client_id: str | None) -> int:
        """Neither read nor answer on the connection of a client, or of everybody for None; returns how many."""
        chosen = list(self._chosen(client_id))
        for connection in chosen:
            connection.fall_silent()
        self._someone_is_silent = self._someone_is_silent or bool(chosen)
        return len(chosen)

    def ignore_connections(self, times: int) -> None:
        """Be silent towards the next so many TCP connections from their first byte on."""
        self._to_ignore = times

    async def become_unreachable(self, how: DropKind) -> None:
        """Listen no more, and drop all connections."""
        await self._listener.interrupt()
        self.drop(None, how)

    async def come_back(self) -> None:
        """Listen again, on the same port."""
        await self._listener.resume()

    # -- what the server tells ----------------------------------------------------------------------------------------

    def opened(self, connection: ClientConnection) -> None:
        """Meet a new connection."""
        if self._listener.interrupted:  # accepted a moment before
            connection.drop("rst")
        elif self._to_ignore:
            self._to_ignore -= 1
            self._someone_is_silent = True
            connection.fall_silent()

    def second_passed(self) -> None:
        """Forget silent connections whose peer has closed."""
        if self._someone_is_silent:
            for connection in list(self._connections.values()):
                connection.end_if_peer_has()

    def _chosen(self, client_id: str | None) -> Iterator[ClientConnection]:
        for number, connection in self._connections.items():
            if not connection.left and client_id in (None, self._client_ids.get(number)):
                yield connection
