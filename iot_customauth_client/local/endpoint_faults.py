"""`LocalEndpoint.faults`: what a test makes the endpoint do wrong, on every level, from any thread.

The broker's faults (swallow, delay, answer, throttle) are inherited and may be asked for before the endpoint runs.
Those of the network happen at once, to connections that are there, and need a running one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, get_args

from .._suggest import unknown
from .faults import Faults
from .tcp import DropKind

if TYPE_CHECKING:
    from .endpoint_thread import EndpointThread


class EndpointFaults(Faults):
    """The faults of one endpoint. `running` gives its thread, or raises RuntimeError."""

    __slots__ = ("_running",)

    def __init__(self, running: Callable[[], EndpointThread]) -> None:
        super().__init__()
        self._running = running

    def clear(self) -> None:
        """Behave again: forget the faults that were not used yet, and come back. Half-open connections stay dead."""
        super().clear()
        with contextlib.suppress(RuntimeError):  # it does not run: there is nothing else to put right
            self.ignore_connections(0)
            self.come_back()

    def drop(self, client_id: str | None = None, *, how: DropKind = "rst") -> int:
        """Drop the TCP connection of a client, or of everybody; returns how many were dropped.

        how: `rst` resets it, as a crashed or restarted peer does; `fin` ends it in the way of TCP, but without the
            farewells of MQTT and TLS. For the broker the client is lost (CONNECTION_LOST): its will is published.
        """
        _check_how(how)
        running = self._running()

        def drop() -> int:
            dropped = running.server.network_faults.drop(client_id, how)
            running.server.flush()
            return dropped

        return running.call(drop)

    def half_open(self, client_id: str | None = None) -> int:
        """Neither read nor answer any more on the connection of a client, or on everybody's; returns on how many.

        The TCP connection stays, as it seems to when a router on the way has forgotten it. It ends when the client
        gives it up, by `drop`, or with the endpoint. For the broker the client is silent: after 1.5 times its keep
        alive it has gone.
        """
        running = self._running()
        return running.call(lambda: running.server.network_faults.fall_silent(client_id))

    def ignore_connections(self, times: int = 1) -> None:
        """Accept the next so many TCP connections and answer them nothing, not even TLS. A new number replaces it."""
        if times < 0:
            raise ValueError(f"times is {times}: give 0 or more")
        running = self._running()
        running.call(lambda: running.server.network_faults.ignore_connections(times))

    def become_unreachable(self, *, how: DropKind = "rst") -> None:
        """Stop listening and drop all connections, until `come_back`: whoever connects is refused by the system.

        The port stays reserved. Sessions, retained messages and the clock go on. Nothing happens if it is so already.
        """
        _check_how(how)
        running = self._running()

        async def vanish() -> None:
            await running.server.network_faults.become_unreachable(how)
            running.server.flush()

        running.call_async(vanish())

    def come_back(self) -> None:
        """Listen again, on the same port. Nothing happens if it does."""
        running = self._running()
        running.call_async(running.server.network_faults.come_back())

    @contextlib.contextmanager
    def unreachable(self, *, how: DropKind = "rst") -> Iterator[None]:
        """Be unreachable inside the `with`, and come back at its end."""
        self.become_unreachable(how=how)
        try:
            yield
        finally:
            self.come_back()


def _check_how(how: str) -> None:
    if how not in get_args(DropKind):
        raise ValueError(unknown("how", how, get_args(DropKind)))
