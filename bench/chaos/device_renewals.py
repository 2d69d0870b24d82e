"""A device that publishes fast while its credentials end every other second, and says how long each renewal held it up.

The gap of a renewal is what its user sees: the longest time between two acknowledgements around it. The times are the
package's own (`PublishResult.elapsed_seconds`), so nothing here adds to them.
"""

from __future__ import annotations

import bisect
import time
from collections import deque
from functools import partial
from itertools import pairwise

from iot_customauth_client import (
    Connection,
    MemoryOutbox,
    PublishFuture,
    SharedCredentials,
    State,
    StateChange,
    connect,
)

from .device import Device, Task
from .ours import credentials_of, settings_of
from .payloads import payload_of

_BURSTS_PER_SECOND = 250
_AROUND_SECONDS = 0.05
_AFTER_SECONDS = 0.3
_LEEWAY_SECONDS = 0.4


class RenewingDevice:
    """The device: publishes, takes what is sent to it, and ends at `finish`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._renewing_since: float | None = None
        self._renewed: deque[tuple[float, float]] = deque()
        self._open: deque[tuple[int, float, PublishFuture]] = deque()
        self._acknowledged: list[float] = []

    def run(self) -> None:
        """Connect, publish, and report."""
        task = self._device.task
        credentials = SharedCredentials(
            partial(credentials_of, task), leeway_seconds=task.token_seconds / 2, min_interval_seconds=0.2
        )
        settings = settings_of(task).replace(renew_leeway_seconds=_LEEWAY_SECONDS)
        with connect(
            settings, credentials=credentials, outbox=MemoryOutbox(max_messages=100_000), timeout=30
        ) as connection:
            connection.on_state_change(self._changed)
            connection.subscribe(task.subscribes_to, self._handle).wait_granted()
            self._device.reporter.tell("subscribed")
            self._publish(connection)
            connection.flush(20)
            self._reap()
            stats = connection.stats()
            self._device.done(f"{stats.renewals} renewals, {stats.connects} connects, {len(self._open)} open")

    def _handle(self, message: object) -> None:
        self._device.handled(message.payload)  # type: ignore[attr-defined]

    def _changed(self, change: StateChange) -> None:
        now = time.monotonic()
        if change.state is State.RENEWING and self._renewing_since is None:
            self._renewing_since = now
        elif change.state is State.CONNECTED and self._renewing_since is not None:
            self._renewed.append((self._renewing_since, now))
            self._renewing_since = None
        elif change.state in (State.WAITING, State.REFUSED, State.CLOSED):
            self._device.reporter.note(f"{change.state.value}: {change.error}")

    def _publish(self, connection: Connection) -> None:
        topic, number = self._device.task.publishes_to, 0
        began = time.monotonic()
        while not self._device.finishing.is_set():
            wanted = int((time.monotonic() - began) * self._device.task.rate)
            if number < wanted:
                self._device.reporter.tell("offered", number, wanted - 1)
                for each in range(number, wanted):
                    at = time.monotonic()
                    self._open.append((each, at, connection.publish(topic, payload_of(each))))
                self._device.reporter.tell("handed", number, wanted - 1)
                number = wanted
            self._reap()
            self._measure()
            self._device.finishing.wait(1 / _BURSTS_PER_SECOND)

    def _reap(self) -> None:
        first = last = None
        while self._open and self._open[0][2].done():
            number, at, future = self._open.popleft()
            error = future.exception()
            if error is not None:
                self._device.reporter.tell("failed", number, None, str(error))
                continue
            first, last = number if first is None else first, number
            self._acknowledged.append(at + future.result().elapsed_seconds)
        if first is not None:
            self._device.reporter.tell("acknowledged", first, last)

    def _measure(self) -> None:
        """Report the gaps of the renewals that are over."""
        while self._renewed and time.monotonic() > self._renewed[0][1] + _AFTER_SECONDS:
            began, ended = self._renewed.popleft()
            times = sorted(self._acknowledged)
            since = bisect.bisect_left(times, began - _AROUND_SECONDS)
            until = bisect.bisect_right(times, ended + _AFTER_SECONDS)
            near = times[max(0, since - 1) : until + 1]
            gap = max((after - before for before, after in pairwise(near)), default=float("nan"))
            self._device.reporter.tell("figures", 0, -1, f"{gap * 1000:.2f}")
            self._acknowledged = times[since:]


if __name__ == "__main__":
    RenewingDevice(Device(Task.from_arguments())).run()
