"""A device that talks to itself through the service, at a steady rate, and says each interval what it used.

Each message carries when it was published, so its handler knows how late it is: publish, service, and back.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import threading
import time
from typing import Any

from iot_customauth_client import Message, SharedCredentials, aio, connect

from .device import Device, Task
from .ours import credentials_of, settings_of
from .payloads import SIZE


def _payload(number: int) -> bytes:
    return f"{number}:{time.monotonic():.6f}:".encode().ljust(SIZE, b".")


class SoakDevice:
    """What both faces share: the pace, the account of what came back, and the figures."""

    def __init__(self, device: Device, interval_seconds: float) -> None:
        self.device = device
        task = device.task
        self.topic = task.publishes_to
        self.settings = settings_of(task)
        self.credentials = SharedCredentials(lambda: credentials_of(task), leeway_seconds=task.token_seconds / 5)
        self._late: list[float] = []
        self._interval_seconds = interval_seconds

    def handle(self, message: Message) -> None:
        """Note how late a message is."""
        number, sent, _ = message.payload.split(b":", 2)
        self._late.append(time.monotonic() - float(sent))
        self.device.reporter.tell("handled", int(number))

    def publish(self, publish: Any, burst: range) -> list[Any]:
        """Hand a burst over, and return its futures."""
        futures = [publish(self.topic, _payload(number)) for number in burst]
        self.device.reporter.tell("handed", burst[0], burst[-1])
        return futures

    def report_for_ever(self) -> None:
        """Report the figures of each interval, on a thread of its own."""
        used, at = _cpu_seconds(), time.monotonic()
        while not self.device.finishing.wait(self._interval_seconds):
            late, self._late = sorted(self._late), []
            now, cpu = time.monotonic(), _cpu_seconds()
            if late:
                figures = {
                    "messages": len(late),
                    "rate": len(late) / (now - at),
                    "cpu_us": (cpu - used) / len(late) * 1e6,
                    "p50_ms": late[len(late) // 2] * 1e3,
                    "p99_ms": late[int(len(late) * 0.99)] * 1e3,
                    "max_ms": late[-1] * 1e3,
                    "threads": threading.active_count(),
                }
                self.device.reporter.tell("figures", 0, -1, json.dumps(figures))
            used, at = cpu, now

    def run_sync(self) -> None:
        """Run with the sync face."""
        with connect(self.settings, credentials=self.credentials, timeout=30) as connection:
            connection.subscribe(self.topic, self.handle).wait_granted()
            self.device.reporter.tell("subscribed")
            for burst in self.device.bursts():
                self.publish(connection.publish, burst)
            connection.flush(20)
            self.device.done(f"{connection.stats().renewals} renewals")

    async def run_aio(self) -> None:
        """Run with the asyncio face."""
        loop = asyncio.get_running_loop()
        bursts: asyncio.Queue[range | None] = asyncio.Queue()

        def pace() -> None:
            for burst in self.device.bursts():
                loop.call_soon_threadsafe(bursts.put_nowait, burst)
            loop.call_soon_threadsafe(bursts.put_nowait, None)

        async with aio.connect(self.settings, credentials=self.credentials, timeout=30) as connection:
            await connection.subscribe(self.topic, self.handle).wait_granted()
            self.device.reporter.tell("subscribed")
            threading.Thread(target=pace, daemon=True).start()
            while (burst := await bursts.get()) is not None:
                self.publish(connection.publish, burst)
            await connection.flush(20)
            self.device.done(f"{connection.stats().renewals} renewals")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run the device with the face and the interval of the arguments."""
    soak = SoakDevice(Device(Task.from_arguments()), float(sys.argv[3]))
    threading.Thread(target=soak.report_for_ever, daemon=True).start()
    if sys.argv[2] == "sync":
        soak.run_sync()
    else:
        asyncio.run(soak.run_aio())


if __name__ == "__main__":
    main()
