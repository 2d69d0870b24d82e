"""What all devices share: what they are told at the start and later, and the pace at which they publish.

A device is a process of its own. It gets a `Task` as JSON in its first argument, commands as lines on its standard
input, and reports on its standard output. When its input ends, whoever started it is gone, and it ends at once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Final, Literal

from .payloads import number_of
from .reports import Reporter

BURSTS_PER_SECOND: Final = 20
CONNECT_SECONDS: Final = 6.0
"""For one attempt, in all clients: more than the authorizer's 5 s."""
SESSION_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True)
class Task:
    """What a device is to do. `first` is the number of its first message; `rate` is in messages a second."""

    port: int
    ca_file: str
    client_id: str
    protocol: Literal["mqtt5", "mqtt311"]
    publishes_to: str
    subscribes_to: str
    first: int
    rate: float
    outbox: str
    token_seconds: float

    def text(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))

    @classmethod
    def from_arguments(cls) -> Task:
        """Read it from the first argument of this process."""
        return cls(**json.loads(sys.argv[1]))


def token() -> str:
    """Return a fresh token: the time at which it was made."""
    return f"{time.time():.6f}"


class Device:
    """One device's standing with its controller.

    Commands: `slow <seconds>` (the next message's handler takes so long), `hint` (the network is back), `stop`
    (publish no more), `finish` (flush, close, end).
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.reporter = Reporter(os.dup(1))
        os.dup2(2, 1)  # whatever prints must not get among the reports
        self.finishing = threading.Event()
        self.on_hint: Callable[[], object] | None = None
        self._stopped = False
        self._slow = 0.0
        threading.Thread(target=self._obey, name="commands", daemon=True).start()

    def _obey(self) -> None:
        for line in sys.stdin:
            word, _, argument = line.strip().partition(" ")
            if word == "slow":
                self._slow = float(argument)
            elif word == "stop":
                self._stopped = True
            elif word == "finish":
                self._stopped = True
                self.finishing.set()
            elif word == "hint" and (hint := self.on_hint) is not None:
                try:
                    hint()
                except Exception as error:  # noqa: BLE001 - it must not end the commands
                    self.reporter.note(f"hint: {error!r}")
        os._exit(3)

    def bursts(self) -> Iterator[range]:
        """Yield the numbers to publish next, at the pace of the task, until `finish`; each is offered already."""
        per_burst = max(1, round(self.task.rate / BURSTS_PER_SECOND))
        pause = per_burst / self.task.rate
        number = self.task.first
        due = time.monotonic()
        while not self.finishing.wait(max(0.0, due - time.monotonic())):
            due = max(due + pause, time.monotonic() - 1.0)  # what was missed is caught up with for a second at most
            if self._stopped:
                continue
            burst = range(number, number + per_burst)
            number += per_burst
            self.reporter.tell("offered", burst[0], burst[-1])
            yield burst

    def take_slow(self) -> float:
        """Return for how many seconds the handler of this message is to take its time; only once."""
        slow, self._slow = self._slow, 0.0
        return slow

    def handled(self, payload: bytes) -> None:
        """Report a message as done with."""
        self.reporter.tell("handled", number_of(payload))

    def done(self, text: str = "") -> None:
        """Report the end in good order."""
        self.reporter.tell("done", 0, -1, text)
