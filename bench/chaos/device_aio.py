"""A device with this package's asyncio face; it does what the one with the sync face does."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

from iot_customauth_client import (
    ConnectionClosed,
    CustomAuthError,
    Message,
    OutboxFull,
    SharedCredentials,
    SqliteOutbox,
    State,
    StateChange,
    aio,
)

from .device import Device, Task
from .ours import credentials_of, settings_of
from .payloads import payload_of


class AsyncDevice:
    """The device, over as many connections as it takes: one, unless the package says that it is closed."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._settings = settings_of(device.task)
        self._credentials = SharedCredentials(
            partial(credentials_of, device.task), leeway_seconds=2, min_interval_seconds=1
        )
        self._outbox = SqliteOutbox(device.task.outbox)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Publish and obey until `finish`."""
        loop = asyncio.get_running_loop()
        bursts: asyncio.Queue[range | None] = asyncio.Queue()

        def pace() -> None:
            for burst in self._device.bursts():
                loop.call_soon_threadsafe(bursts.put_nowait, burst)
            loop.call_soon_threadsafe(bursts.put_nowait, None)

        threading.Thread(target=pace, name="pace", daemon=True).start()
        connection = await self._connect()
        while (burst := await bursts.get()) is not None:
            try:
                await self._publish(connection, burst)
            except ConnectionClosed as error:
                self._device.reporter.note(f"closed, connecting anew: {error}")
                await connection.close(timeout=1)
                await asyncio.sleep(1)
                connection = await self._connect()
        await connection.flush(20)
        report = await connection.close(timeout=10)
        stats = connection.stats()
        self._device.done(f"{stats.renewals} renewals, {stats.connects} connects; left {report}")

    async def _connect(self) -> aio.Connection:
        # At once, as the device with the sync face does, and for the same reasons.
        connection = await aio.connect(self._settings, credentials=self._credentials, outbox=self._outbox, timeout=0)
        connection.on_state_change(self._noticed)
        task = asyncio.create_task(self._receive(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(0)  # the subscription is there
        loop = asyncio.get_running_loop()
        self._device.on_hint = partial(loop.call_soon_threadsafe, connection.retry_now)
        return connection

    def _noticed(self, change: StateChange) -> None:
        if change.state in (State.CLOSED, State.REFUSED):
            self._device.reporter.note(f"{change.state.value}: {change.error}")

    async def _receive(self, connection: aio.Connection) -> None:
        try:
            async with connection.subscribe(self._device.task.subscribes_to) as messages:
                granting = asyncio.create_task(self._await_grant(messages))
                self._tasks.add(granting)
                granting.add_done_callback(self._tasks.discard)
                async for message in messages:
                    await self._handle(message)
        except CustomAuthError as error:
            self._device.reporter.note(f"the subscription ended: {error}")

    async def _await_grant(self, messages: aio.Subscription) -> None:
        try:
            await messages.wait_granted(None)
        except CustomAuthError as error:
            self._device.reporter.note(f"not subscribed: {error}")
        else:
            self._device.reporter.tell("subscribed")

    async def _handle(self, message: Message) -> None:
        slow = self._device.take_slow()
        if slow:
            await asyncio.sleep(slow)
        self._device.handled(message.payload)

    async def _publish(self, connection: aio.Connection, burst: range) -> None:
        futures = []
        for number in burst:
            try:
                future = connection.publish(self._device.task.publishes_to, payload_of(number))
            except OutboxFull:
                self._device.reporter.tell("failed", number, None, "the outbox is full")
                continue
            future.add_done_callback(partial(self._ended, number))
            futures.append((number, future))
        if futures:
            self._device.reporter.tell("handed", burst[0], burst[-1])
        for number, future in futures:
            try:
                await future.wait_stored(30)
            except CustomAuthError as error:
                self._device.reporter.tell("failed", number, None, f"not stored: {error}")
            else:
                self._device.reporter.tell("stored", number)

    def _ended(self, number: int, future: asyncio.Future[object]) -> None:
        if future.cancelled():
            self._device.reporter.tell("failed", number, None, "cancelled")
        elif (error := future.exception()) is not None:
            self._device.reporter.tell("failed", number, None, str(error))
        else:
            self._device.reporter.tell("acknowledged", number)


if __name__ == "__main__":
    asyncio.run(AsyncDevice(Device(Task.from_arguments())).run())
