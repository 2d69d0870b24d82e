"""Both faces behind one blocking interface, so that one set of statements holds for both.

The interface is that of the sync face. `SyncFace` therefore adds nothing; `AioFace` runs an event loop in a thread,
calls everything of the asyncio face on that loop, and waits for it. Handlers of the tests block: `handler()` turns one
into what the face wants, for asyncio a coroutine function that leaves the blocking to a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from client_support import WAIT

from iot_customauth_client import ConnectionSettings, Message, connect

T = TypeVar("T")
_LONG = WAIT * 3


class SyncFace:
    """The sync face as it is."""

    name = "sync"

    def connect(self, settings: ConnectionSettings, **arguments: Any) -> Any:
        return connect(settings, **arguments)

    def handler(self, call: Callable[[Message], Any]) -> Callable[[Message], Any]:
        return call

    def stop(self) -> None: ...


class AioFace:
    """The asyncio face, with a loop of its own."""

    name = "aio"

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop-of-the-test", daemon=True)
        self._thread.start()

    def connect(self, settings: ConnectionSettings, **arguments: Any) -> BlockingConnection:
        from iot_customauth_client import aio

        async def opening() -> Any:
            return await aio.connect(settings, **arguments)

        return BlockingConnection(self, self.run(opening()))

    def handler(self, call: Callable[[Message], Any]) -> Callable[[Message], Coroutine[Any, Any, Any]]:
        async def handle(message: Message) -> Any:
            return await asyncio.to_thread(call, message)

        return handle

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = _LONG) -> T:
        """Run it on the loop, from any other thread, and wait for its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call a plain function on the loop."""

        async def calling() -> T:
            return function(*arguments, **named)

        return self.run(calling())

    def stop(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT)
        self.loop.close()


class BlockingFuture:
    """An asyncio future that another thread waits for."""

    def __init__(self, face: AioFace, future: asyncio.Future[Any]) -> None:
        self._face = face
        self._future = future

    def result(self, timeout: float = _LONG) -> Any:
        async def waiting() -> Any:
            return await asyncio.wait_for(asyncio.shield(self._future), timeout)

        return self._face.run(waiting())

    def exception(self, timeout: float = _LONG) -> BaseException | None:
        async def waiting() -> BaseException | None:
            await asyncio.wait([self._future], timeout=timeout)
            return self._future.exception()

        return self._face.run(waiting())

    def done(self) -> bool:
        return self._face.call(self._future.done)

    def cancel(self) -> bool:
        return self._face.call(self._future.cancel)

    def cancelled(self) -> bool:
        return self._face.call(self._future.cancelled)


class BlockingSubscription:
    """`aio.Subscription` for a thread."""

    def __init__(self, face: AioFace, subscription: Any) -> None:
        self._face = face
        self._it = subscription

    @property
    def granted_qos(self) -> int | None:
        return self._face.call(lambda: self._it.granted_qos)

    @property
    def dropped(self) -> int:
        return self._face.call(lambda: self._it.dropped)

    def wait_granted(self, timeout: float | None = _LONG) -> int:
        return self._face.run(self._it.wait_granted(timeout))

    def get(self, timeout: float | None = None) -> Message:
        return self._face.run(self._it.get(timeout))

    def close(self) -> None:
        async def closing() -> None:
            ended = self._it.close()
            if asyncio.iscoroutine(ended):
                await ended

        self._face.run(closing())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        async def step() -> Message | None:
            try:
                return await anext(self._it)
            except StopAsyncIteration:
                return None

        message = self._face.run(step())
        if message is None:
            raise StopIteration
        return message

    def __enter__(self) -> Self:
        self._face.run(self._it.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._face.run(self._it.__aexit__(kind, error, trace))


class BlockingConnection:
    """`aio.Connection` for a thread."""

    def __init__(self, face: AioFace, connection: Any) -> None:
        self._face = face
        self._it = connection

    @property
    def state(self) -> Any:
        return self._it.state

    @property
    def last_error(self) -> Any:
        return self._it.last_error

    @property
    def native(self) -> Any:
        return self._face.call(lambda: self._it.native)

    def service(self, factory: Callable[[Any], Any]) -> Any:
        return self._face.call(self._it.service, factory)

    def stats(self) -> Any:
        return self._face.call(self._it.stats)

    def on_state_change(self, callback: Callable[[Any], object]) -> Callable[[], None]:
        remove = self._face.call(self._it.on_state_change, callback)
        return lambda: self._face.call(remove)

    def retry_now(self) -> None:
        self._face.call(self._it.retry_now)

    def wait_connected(self, timeout: float | None = None) -> None:
        self._face.run(self._it.wait_connected(timeout))

    def wait_closed(self, timeout: float | None = None) -> None:
        self._face.run(self._it.wait_closed(timeout))

    def flush(self, timeout: float | None = None) -> None:
        self._face.run(self._it.flush(timeout))

    def close(self, **named: Any) -> Any:
        return self._face.run(self._it.close(**named))

    def publish(self, *arguments: Any, **named: Any) -> BlockingFuture:
        return BlockingFuture(self._face, self._face.call(self._it.publish, *arguments, **named))

    def subscribe(self, *arguments: Any, **named: Any) -> BlockingSubscription:
        return BlockingSubscription(self._face, self._face.call(self._it.subscribe, *arguments, **named))

    def request(self, *arguments: Any, **named: Any) -> Message:
        return self._face.run(self._it.request(*arguments, **named))

    def respond(self, *arguments: Any, **named: Any) -> BlockingSubscription:
        return BlockingSubscription(self._face, self._face.call(self._it.respond, *arguments, **named))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._face.run(self._it.__aexit__(kind, error, trace))


Face = SyncFace | AioFace


def make_face(name: str) -> Face:
    return SyncFace() if name == "sync" else AioFace()
