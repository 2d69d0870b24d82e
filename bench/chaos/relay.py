"""The network in front of a service, for one device: passes TCP on until it is told not to.

Each device has a relay of its own, so what befalls one does not touch the others. All relays of a process share one
event loop on one thread; the methods of a relay may be called from any other thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_CHUNK: Final = 65_536
_CALL_SECONDS: Final = 10.0
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class Network:
    """The thread that all relays run on; a context manager that ends them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._relays: list[Relay] = []

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for relay in self._relays:
            relay.leave()
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def relay_to(self, host: str, port: int) -> Relay:
        """Open a relay to a service."""
        relay = Relay(self, host, port)
        relay.come_back()
        self._relays.append(relay)
        return relay

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the thread and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_SECONDS)


class Relay:
    """One port in front of one service. Made by `Network.relay_to`."""

    def __init__(self, network: Network, host: str, port: int) -> None:
        self._network = network
        self._target = (host, port)
        self._flows: set[_Flow] = set()
        self._server: asyncio.Server | None = None
        self._reserved = reserved(0)
        self.port: Final[int] = self._reserved.getsockname()[1]

    # -- what befalls the device --------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset every connection, towards both ends."""
        self._network.run(self._reset())

    def freeze(self) -> None:
        """Pass nothing on any more on the connections that are there; new ones are passed on."""
        self._network.run(self._hold(both=True))

    def hold_answers(self) -> None:
        """Keep back what the service sends on the connections that are there."""
        self._network.run(self._hold(both=False))

    def release(self) -> None:
        """Pass on what was kept back."""
        self._network.run(self._release())

    def leave(self) -> None:
        """Reset everything, and refuse connections; the port stays ours."""
        self._network.run(self._leave())

    def come_back(self) -> None:
        """Accept connections."""
        self._network.run(self._come_back())

    # -- on the thread ------------------------------------------------------------------------------------------------

    async def _come_back(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, sock=self._reserved)

    async def _leave(self) -> None:
        if self._server is not None:
            self._server.close()  # closes the socket: whoever connects now is refused by the system
            self._server = None
            self._reserved = reserved(self.port)
        await self._reset()

    async def _reset(self) -> None:
        for flow in list(self._flows):
            flow.abort()

    async def _hold(self, *, both: bool) -> None:
        for flow in self._flows:
            flow.back.clear()
            if both:
                flow.forth.clear()

    async def _release(self) -> None:
        for flow in self._flows:
            flow.back.set()
            flow.forth.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            service = await asyncio.open_connection(*self._target)
        except OSError:
            _abort(writer)
            return
        flow = _Flow(reader, writer, *service)
        if self._server is None:  # it went away meanwhile
            flow.abort()
            return
        self._flows.add(flow)
        try:
            await flow.run()
        finally:
            self._flows.discard(flow)
            flow.abort()


class _Flow:
    """One connection through the relay: two directions, each with a gate."""

    def __init__(
        self,
        device_reader: asyncio.StreamReader,
        device_writer: asyncio.StreamWriter,
        service_reader: asyncio.StreamReader,
        service_writer: asyncio.StreamWriter,
    ) -> None:
        self.forth, self.back = asyncio.Event(), asyncio.Event()
        self.forth.set()
        self.back.set()
        self._ends = (device_writer, service_writer)
        self._ways = (
            (device_reader, service_writer, self.forth),
            (service_reader, device_writer, self.back),
        )
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def run(self) -> None:
        """Pass on until either end is gone, or `abort`."""
        self._tasks = tuple(asyncio.ensure_future(_pass_on(*way)) for way in self._ways)
        done, rest = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if all(task.exception() is None for task in done if not task.cancelled()) and rest:
            await asyncio.wait(rest, timeout=1.0)  # one end said farewell: the other may have something to say
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def abort(self) -> None:
        """Reset both ends."""
        for task in self._tasks:
            task.cancel()
        for writer in self._ends:
            _abort(writer)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    while data := await reader.read(_CHUNK):
        await gate.wait()
        writer.write(data)
        await writer.drain()
    await gate.wait()  # a farewell does not pass a closed gate either
    with contextlib.suppress(OSError):
        writer.write_eof()


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()


def reserved(port: int) -> socket.socket:
    """Return a socket that has the port but does not listen: whoever connects is refused, and nobody can take it."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setblocking(False)
    bound.bind(("127.0.0.1", port))
    return bound
