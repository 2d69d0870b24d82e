"""The thread of a running local endpoint: its event loop, how work is handed to it, and how it ends.

It ends in one of three ways, and leaves nothing behind in any: `stop`, which waits for it; `abandon`, when its owner
has become garbage, which waits for nothing because it may be called from anywhere; and `stop` when the process ends.
So that an owner can become garbage, nothing here may keep it: `make_server` is let go of as soon as it was called.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TypeAlias, TypeVar

from .certificates import Certificates
from .server import CLOSE_SECONDS, Server
from .turns import Turns

log = logging.getLogger(__name__)

STOP_SECONDS = CLOSE_SECONDS + 4.0
"""`stop` returns within this, whatever happens."""
_LAST_CALLS_SECONDS = 0.5
_CALL_SECONDS = 10.0

ResultT = TypeVar("ResultT")
MakeServer: TypeAlias = Callable[[asyncio.AbstractEventLoop, Turns, Certificates], Server]


class EndpointThread:
    """A started endpoint.

    Made with the socket it is to listen on, bound, and a function that makes its server on the thread's loop; what that
    raises is raised here. Attributes: `host` and `port` it listens on, `certificates`, `server`.
    """

    def __init__(
        self,
        certificates: Certificates,
        listening: socket.socket,
        make_server: MakeServer,
    ) -> None:
        self.certificates = certificates
        address: tuple[str, int] = listening.getsockname()[:2]
        self.host, self.port = address
        started: concurrent.futures.Future[tuple[Server, asyncio.Event]] = concurrent.futures.Future()
        self._left: list[threading.Thread] = []
        self._process = os.getpid()
        self._thread = threading.Thread(
            target=self._run, args=(listening, [make_server], started), name="iot-customauth-local", daemon=True
        )
        self._thread.start()
        try:
            self.server, self._stopping = started.result()
        except BaseException:  # Ctrl+C: nobody will have this object, so nobody could stop what has begun to start
            started.add_done_callback(_end_at_once)
            self._thread.join(STOP_SECONDS)
            raise
        atexit.register(self._stop_at_exit)

    def _run(
        self,
        listening: socket.socket,
        make_server: list[MakeServer],
        started: concurrent.futures.Future[tuple[Server, asyncio.Event]],
    ) -> None:
        turns = Turns()

        async def serve() -> None:
            stopping = asyncio.Event()
            try:
                # Out of the list that a running thread holds on to: it is a method of the owner.
                server = make_server.pop()(asyncio.get_running_loop(), turns, self.certificates)
                await server.start(listening)
            except BaseException as error:  # noqa: BLE001  # it belongs to whoever called start()
                started.set_exception(error)
                return
            started.set_result((server, stopping))
            await stopping.wait()
            self._left = await server.close()

        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
            runner.run(serve())

    def call(self, function: Callable[[], ResultT]) -> ResultT:
        """Run a function on the loop's thread and return its result; RuntimeError in a forked process."""
        self.check_process()
        if threading.current_thread() is self._thread:
            return function()
        future: concurrent.futures.Future[ResultT] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  # it belongs to the caller
                future.set_exception(error)

        self.server.loop.call_soon_threadsafe(run)
        return future.result(_CALL_SECONDS)

    def call_async(self, coroutine: Coroutine[object, object, ResultT]) -> ResultT:
        """Run a coroutine on the loop and return its result; never call it on the loop's own thread.

        RuntimeError in a forked process.
        """
        try:
            self.check_process()
        except RuntimeError:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, self.server.loop).result(_CALL_SECONDS)

    def check_process(self) -> None:
        """Raise RuntimeError in a forked process: it has inherited the endpoint but not its thread."""
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this process was forked while the local endpoint ran: it runs in process {self._process}, and only"
                f" that one can wait for its events and tell it what to do. Devices of this process reach it on"
                f" {self.host}, port {self.port}, as before; or start another endpoint here"
            )

    def stop(self) -> None:
        """End the thread, then wait a moment for the authorizers' last calls."""
        try:
            self._ask_to_end()
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                log.error("the local endpoint's thread did not end within %.0f s", STOP_SECONDS)
            deadline = time.monotonic() + _LAST_CALLS_SECONDS
            for thread in self._left:
                thread.join(max(0.0, deadline - time.monotonic()))
        finally:  # also after Ctrl+C: the thread was told, and ends by itself
            self.certificates.close()

    def abandon(self) -> None:
        """Have the thread end, without waiting: for the garbage collector, which may call on any thread."""
        self._ask_to_end()
        self.certificates.close()

    def _ask_to_end(self) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            self.server.loop.call_soon_threadsafe(self._stopping.set)
        atexit.unregister(self._stop_at_exit)

    def _stop_at_exit(self) -> None:
        """Stop with the process: devices are told, and commands that run as authorizers are killed."""
        if os.getpid() == self._process:  # not in a fork, which has inherited the endpoint but not its thread
            self.stop()


def _end_at_once(started: concurrent.futures.Future[tuple[Server, asyncio.Event]]) -> None:
    """End what has started although its owner was interrupted meanwhile."""
    if started.exception() is None:
        server, stopping = started.result()
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            server.loop.call_soon_threadsafe(stopping.set)
