"""A device with this package's sync face: what it wants to promise, it stores; what is asked of it, it does and then
acknowledges, which the package does by itself.
"""

from __future__ import annotations

import concurrent.futures
import threading
from functools import partial

from iot_customauth_client import (
    Connection,
    ConnectionClosed,
    CustomAuthError,
    Message,
    OutboxFull,
    SharedCredentials,
    SqliteOutbox,
    State,
    StateChange,
    Subscription,
    connect,
)

from .device import Device, Task
from .ours import credentials_of, settings_of
from .payloads import payload_of


class SyncDevice:
    """The device, over as many `Connection`s as it takes: one, unless the package says that it is closed."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._settings = settings_of(device.task)
        self._credentials = SharedCredentials(
            partial(credentials_of, device.task), leeway_seconds=2, min_interval_seconds=1
        )
        self._outbox = SqliteOutbox(device.task.outbox)

    def run(self) -> None:
        """Publish and obey until `finish`."""
        connection = self._connect()
        for burst in self._device.bursts():
            try:
                self._publish(connection, burst)
            except ConnectionClosed as error:
                self._device.reporter.note(f"closed, connecting anew: {error}")
                connection.close(timeout=1)
                self._device.finishing.wait(1.0)
                connection = self._connect()
        connection.flush(20)
        report = connection.close(timeout=10)
        stats = connection.stats()
        self._device.done(f"{stats.renewals} renewals, {stats.connects} connects; left {report}")

    def _connect(self) -> Connection:
        # At once, whatever the network is like: so messages are stored from the first moment on, hints are heard, and
        # nothing that the service has kept for the device can be here before its subscription.
        connection = connect(self._settings, credentials=self._credentials, outbox=self._outbox, timeout=0)
        connection.on_state_change(self._noticed)
        subscription = connection.subscribe(self._device.task.subscribes_to, self._handle)
        threading.Thread(target=self._await_grant, args=(subscription,), daemon=True).start()
        self._device.on_hint = connection.retry_now
        return connection

    def _noticed(self, change: StateChange) -> None:
        if change.state in (State.CLOSED, State.REFUSED):
            self._device.reporter.note(f"{change.state.value}: {change.error}")

    def _await_grant(self, subscription: Subscription) -> None:
        try:
            subscription.wait_granted(None)
        except CustomAuthError as error:
            self._device.reporter.note(f"not subscribed: {error}")
        else:
            self._device.reporter.tell("subscribed")

    def _handle(self, message: Message) -> None:
        slow = self._device.take_slow()
        if slow:
            self._device.finishing.wait(slow)
        self._device.handled(message.payload)

    def _publish(self, connection: Connection, burst: range) -> None:
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
                future.wait_stored(30)
            except CustomAuthError as error:
                self._device.reporter.tell("failed", number, None, f"not stored: {error}")
            else:
                self._device.reporter.tell("stored", number)

    def _ended(self, number: int, future: concurrent.futures.Future[object]) -> None:
        error = future.exception()
        if error is None:
            self._device.reporter.tell("acknowledged", number)
        else:
            self._device.reporter.tell("failed", number, None, str(error))


if __name__ == "__main__":
    SyncDevice(Device(Task.from_arguments())).run()
