"""One device with everything about it: its processes, its relay, its book, and the faults that befall it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal

from .checker import Book, Verdict, judge
from .child import Child
from .device import Task
from .relay import Relay
from .reports import Report
from .schedule import Fault
from .services import Endpoint, Mosquitto, client_id_of, down, up
from .takeover import take_over

_QUIET_SECONDS: Final = 15.0
_HINT_AFTER_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Kind:
    """What a device is: the module it runs, its protocol, and whether its library promises to keep what it stored."""

    module: str
    protocol: Literal["mqtt5", "mqtt311"]
    durable: bool


@dataclass(slots=True)
class Lane:
    """One device. `start`, `inflict` and `finish` are called from one thread at a time."""

    name: str
    kind: Kind
    service: Mosquitto | Endpoint
    relay: Relay
    directory: Path
    rate: float
    token_seconds: float
    errors: IO[bytes]
    say: Callable[[str], None]
    book: Book = field(default_factory=Book)
    children: list[Child] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    quiet: threading.Event = field(default_factory=threading.Event)
    subscribed: threading.Event = field(default_factory=threading.Event)
    skipped: int = 0

    @property
    def child(self) -> Child:
        """The process that is the device now."""
        return self.children[-1]

    def start(self) -> None:
        """Start the device, or start it again: its numbers go on."""
        task = Task(
            port=self.relay.port,
            ca_file=str(self.service.ca_file),
            client_id=client_id_of(self.name),
            protocol=self.kind.protocol,
            publishes_to=up(self.name),
            subscribes_to=down(self.name),
            first=self.book.offered_up,
            rate=self.rate,
            outbox=str(self.directory / f"{client_id_of(self.name)}.sqlite"),
            token_seconds=self.token_seconds,
        )
        self.children.append(Child(self.kind.module, task, self._report, self.errors))

    def _report(self, report: Report) -> None:
        book, numbers = self.book, range(report.first, report.last + 1)
        match report.kind:
            case "offered":
                book.offered_up = max(book.offered_up, report.last + 1)
            case "handed":
                book.handed.update(numbers)
            case "stored":
                book.stored.update(numbers)
            case "acknowledged":
                book.acknowledged.update(numbers)
            case "failed":
                book.failed.update(numbers)
                self.failures[report.text[:160]] += 1
                self.say(f"{self.name}: message {report.first} failed: {report.text}")
            case "subscribed":
                self.subscribed.set()
            case "handled":
                book.handled.extend(numbers)
            case _:
                self.say(f"{self.name}: {report.kind}: {report.text}")

    # -- down to the device -------------------------------------------------------------------------------------------

    def send_down(self, count: int) -> None:
        """Let the service send the device some messages, once it has a session in which they are kept for it."""
        if not self.subscribed.is_set():
            return
        for _ in range(count):
            if self.quiet.is_set():
                return
            number = self.book.offered_down
            self.book.offered_down += 1
            self.service.send(self.name, number, self.book.accepted.add)

    def wait_quiet(self, seconds: float) -> bool:
        """Wait until all that was sent down is handled."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if len(set(self.book.handled)) >= self.book.offered_down:
                return True
            time.sleep(0.05)
        return False

    # -- what befalls it ----------------------------------------------------------------------------------------------

    def inflict(self, fault: Fault) -> None:
        """Do it, and undo what has to be undone; takes as long as the fault."""
        self.say(f"{self.name}: {fault.kind} for {fault.seconds:.1f} s")
        if fault.kind.startswith("kill") and not self._prepare_to_kill():
            self.skipped += 1
            self.quiet.clear()
            return
        client_id, relay, seconds = client_id_of(self.name), self.relay, fault.seconds
        match fault.kind:
            case "reset":
                relay.reset()
            case "half open":
                relay.freeze()
                time.sleep(seconds)
                relay.reset()
            case "late answers":
                relay.hold_answers()
                time.sleep(seconds)
                relay.release()
            case "lost answers":
                relay.hold_answers()
                time.sleep(seconds)
                relay.reset()
            case "away":
                relay.leave()
                time.sleep(seconds)
                relay.come_back()
            case "takeover":
                take_over(self.service.port, self.service.ca_file, client_id, self.kind.protocol)
            case "slow handler":
                self.child.tell(f"slow {seconds}")
                time.sleep(seconds)
            case "kill":
                self.child.tell(f"slow {seconds + 1}")
                time.sleep(seconds)
                self._kill()
            case "kill offline":
                relay.leave()
                time.sleep(seconds / 2)
                self._kill()
                time.sleep(seconds / 2)
                relay.come_back()
            case _:
                self._inflict_on_protocol(fault, client_id)
        if fault.told:
            time.sleep(_HINT_AFTER_SECONDS)
            self.child.tell("hint")

    def _inflict_on_protocol(self, fault: Fault, client_id: str) -> None:
        service, relay = self.service, self.relay
        assert isinstance(service, Endpoint)
        faults = service.local.faults
        match fault.kind:
            case "lost PUBACK":
                faults.swallow("PUBACK", times=fault.count, client_id=client_id)
                time.sleep(fault.seconds)
                relay.reset()
            case "late PUBACK":
                faults.delay("PUBACK", fault.seconds, times=fault.count, client_id=client_id)
            case "lost CONNACK":
                faults.swallow("CONNACK", client_id=client_id)
                relay.reset()
            case "refusal":
                faults.refuse_connects(1, reason_code=fault.reason_code, client_id=client_id)
                relay.reset()
            case "throttled":
                faults.throttle("PUBLISH", times=fault.count, client_id=client_id)
                time.sleep(fault.seconds)
                relay.reset()
            case "token expired":
                service.expire_tokens()
                relay.reset()
            case "time to live":
                service.local.disconnect(client_id, "CUSTOMAUTH_TTL_EXPIRATION")
            case "authorizer down":
                service.out_of_order.add(client_id)
                relay.reset()
                time.sleep(fault.seconds)
                service.out_of_order.discard(client_id)
            case _:
                raise ValueError(f"no such fault: {fault.kind}")

    def _prepare_to_kill(self) -> bool:
        # awscrt acknowledges with MQTT 3.1.1 on arrival, before anybody has handled a message: nobody can promise what
        # is under way to such a device when it dies. So nothing is.
        if self.kind.protocol == "mqtt5":
            return True
        self.quiet.set()
        return self.wait_quiet(_QUIET_SECONDS)

    def _kill(self) -> None:
        self.child.kill()
        self.start()
        self.quiet.clear()

    # -- the end ------------------------------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """Publish no more; reset once more, so that what was never answered goes again."""
        self.child.tell("stop")
        self.quiet.set()
        self.relay.come_back()
        self.relay.reset()

    def verdicts(self) -> tuple[Verdict, Verdict]:
        """Return what became of the messages up, and down."""
        return judge(self.book.upwards(durable=self.kind.durable)), judge(self.book.downwards())

    @property
    def growth(self) -> float:
        """Return by how many MiB the longest-lived process grew, from its second quarter of life to its last."""
        samples = max((child.memory for child in self.children), key=len, default=[])
        quarter = len(samples) // 4
        if quarter < 3:
            return 0.0
        second, last = sorted(samples[quarter : 2 * quarter]), sorted(samples[-quarter:])
        return last[len(last) // 2] - second[len(second) // 2]
