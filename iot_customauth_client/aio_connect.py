"""`aio.connect()`: what can be awaited, or entered, to have a connection.

This file loads fast, and loads the rest of the package, awscrt and pydantic with it, on a worker thread when a
connection is opened: that takes a tenth of a second, in which the loop has other things to do.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from .aio_waker import in_worker
from .runtime import runtime

if TYPE_CHECKING:
    from .aio_connection import Connection
    from .aio_core import Core
    from .clock import Clock
    from .opening import GivenCredentials, GivenOutbox
    from .runtime import Runtime
    from .settings import ConnectionSettings, SettingsDict
    from .state import StateChange


def connect(
    endpoint: str | ConnectionSettings,
    *,
    client_id: str | None = None,
    credentials: GivenCredentials,
    outbox: GivenOutbox | None = None,
    on_state_change: Callable[[StateChange], object] | None = None,
    clock: Clock | None = None,
    timeout: float | None = 60,
    **settings: Unpack[SettingsDict],
) -> Connecting:
    """Return what gives a `Connection` when it is awaited, or entered with `async with`.

    Arguments, and what is raised after how long, are those of the sync `connect()`; all of it is raised where it is
    awaited. An async function as `credentials` runs on this event loop, `on_state_change` is called on it. Cancelled,
    nothing of it can connect any more.
    """
    overrides: dict[str, Any] = dict(settings)

    def prepare(loop: asyncio.AbstractEventLoop, shared: Runtime) -> Core:
        import_module("json")  # publish(json=...) and Message.json() would load it on the loop

        from .aio_core import Core
        from .opening import check_timeout, outbox_of, settings_of
        from .shared_credentials import source_of

        check_timeout(timeout)
        core = Core(
            loop,
            shared,
            settings_of(endpoint, client_id, overrides),
            source_of(credentials),
            outbox=outbox_of(outbox),
            clock=clock,
        )
        if on_state_change is not None:
            core.listeners.append(on_state_change)
        return core

    return Connecting(prepare, timeout)


class Connecting:
    """A connection to be: await it, or use it with `async with`; once."""

    def __init__(self, prepare: Callable[[asyncio.AbstractEventLoop, Runtime], Core], timeout: float | None) -> None:
        self._prepare = prepare
        self._timeout = timeout
        self._used = False
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._open()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is not None:
            await self._connection.__aexit__(kind, error, traceback)

    def __del__(self) -> None:
        if not self._used:
            warnings.warn("aio.connect() was neither awaited nor entered", RuntimeWarning, stacklevel=2)

    async def _open(self) -> Connection:
        if self._used:
            raise RuntimeError("aio.connect() gives one connection: call it again for another one")
        self._used = True
        loop, shared = asyncio.get_running_loop(), runtime()

        def load() -> Callable[[], Awaitable[Connection]]:
            from .aio_connection import open_connection

            return partial(open_connection, self._prepare(loop, shared), self._timeout)

        begin = await in_worker(loop, shared, load)
        return await begin()
