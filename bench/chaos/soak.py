"""A long, quiet day in minutes: devices talk to themselves through mosquitto while their credentials are renewed.

Each minute it prints, for each face: messages a second, CPU time of the device per message (published and received),
how late messages are from publish to handler, and resident memory. The last line says what was lost. Exit status 0 only
if nothing was, nothing is out of order, and memory is flat.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from array import array
from pathlib import Path
from typing import Final

from .checker import Stream, Verdict, judge
from .child import Child
from .device import Task
from .reports import Report
from .services import Mosquitto, client_id_of, up

FLAT_MIB: Final = 8.0
TOKEN_SECONDS: Final = 60.0


class Soak:
    """One device."""

    def __init__(self, face: str, rate: float) -> None:
        self.face, self.rate = face, rate
        self.offered = 0
        self.arrived, self.handled = array("q"), array("q")
        self.failed = 0
        self.lines = 0
        self.ready = threading.Event()
        self.last_words = "it ended without a word"
        self.memory: list[float] = []
        self._child: Child | None = None

    def start(self, service: Mosquitto, interval: float, errors: object) -> None:
        """Start the device."""
        task = Task(
            port=service.port,
            ca_file=str(service.ca_file),
            client_id=client_id_of(self.face),
            protocol="mqtt5",
            publishes_to=up(self.face),
            subscribes_to=up(self.face),
            first=0,
            rate=self.rate,
            outbox="",
            token_seconds=TOKEN_SECONDS,
        )
        self._child = Child("device_soak", task, self._report, errors, self.face, str(interval))  # type: ignore[arg-type]

    @property
    def child(self) -> Child:
        """The device."""
        assert self._child is not None
        return self._child

    def _report(self, report: Report) -> None:
        match report.kind:
            case "offered":
                self.offered = report.last + 1
            case "handled":
                self.handled.append(report.first)
            case "subscribed":
                self.ready.set()
            case "figures":
                self._print(json.loads(report.text))
            case "failed":
                self.failed += 1
            case "done":
                self.last_words = report.text
            case "note":
                print(f"{self.face}: {report.text}", flush=True)

    def _print(self, figures: dict[str, float]) -> None:
        self.lines += 1
        self.child.sample()
        self.memory.append(self.child.memory[-1] if self.child.memory else float("nan"))
        late = "".join(f"{figures[name]:>9.2f}" for name in ("p50_ms", "p99_ms", "max_ms"))
        used = f"{figures['rate']:>10,.0f}{figures['cpu_us']:>10.0f}"
        print(
            f"{self.lines:>6}  {self.face:<6}{used}{late}{self.memory[-1]:>9.1f}{figures['threads']:>9.0f}", flush=True
        )

    def verdict(self) -> Verdict:
        """Return what became of the messages, at the service and back at the device."""
        everything = range(self.offered)
        there = judge(Stream(everything, self.arrived, self.offered))
        back = judge(Stream(everything, self.handled, self.offered))
        return there + back

    @property
    def growth(self) -> float:
        """By how many MiB it grew since its second figure."""
        return self.memory[-1] - self.memory[1] if len(self.memory) > 2 else 0.0


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20, help="how long (default: 20)")
    parser.add_argument("--rate", type=float, default=1_000, help="messages a second in all (default: 1,000)")
    parser.add_argument("--face", action="append", choices=("sync", "aio"), help="only these")
    arguments = parser.parse_args()
    faces = arguments.face or ["sync", "aio"]
    interval = min(60.0, arguments.minutes * 60 / 4)
    soaks = {face: Soak(face, arguments.rate / len(faces)) for face in faces}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        errors = stack.enter_context((directory / "errors").open("w+b"))
        service = Mosquitto(
            directory, dict.fromkeys(faces, ""), lambda face, number: soaks[face].arrived.append(number), errors
        )
        stack.enter_context(service)
        print(f"{arguments.minutes:g} minutes, figures every {interval:.0f} s; CPU of the device per message")
        print(
            f"{'':>6}  {'face':<6}{'msgs/s':>10}{'CPU us':>10}{'p50 ms':>9}{'p99':>9}{'max':>9}{'MiB':>9}{'threads':>9}"
        )
        for soak in soaks.values():
            soak.start(service, interval, errors)
            stack.callback(lambda soak=soak: soak.child.kill() if soak.child.alive else None)  # type: ignore[misc]
        deadline = time.monotonic() + arguments.minutes * 60 + interval / 10
        while time.monotonic() < deadline and all(soak.child.alive for soak in soaks.values()):
            time.sleep(0.25)
        for soak in soaks.values():
            soak.child.tell("stop")
        patience = time.monotonic() + 15
        while any(soak.verdict().lost for soak in soaks.values()) and time.monotonic() < patience:
            time.sleep(0.5)
        for soak in soaks.values():
            soak.child.tell("finish")
        for soak in soaks.values():
            if not soak.child.done.wait(30):
                errors.seek(0)
                soak.last_words = errors.read().decode(errors="replace")[-800:]
        total = Verdict()
        for soak in soaks.values():
            verdict = soak.verdict()
            total += verdict
            print(
                f"{soak.face}: {soak.offered:,} messages, {verdict.repeated} twice, "
                f"{len(verdict.reordered)} out of order, "
                f"{soak.growth:+.1f} MiB; {soak.last_words}"
            )
    good = total.good and all(soak.growth <= FLAT_MIB for soak in soaks.values())
    print(f"lost {len(total.lost)}")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
