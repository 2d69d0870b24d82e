"""Many renewals under load: what is lost, what comes out of order, what comes twice, and how long each holds up.

A device publishes while its credentials end every other second, first through mosquitto, then through the local
endpoint. The service allows one CONNECT a second for one client id, and the package keeps to it: so a renewal takes a
little over a second of run. Exit status 0 only if nothing was lost, out of order or doubled upwards, and the gap is
within the budget: its 99th percentile, or of fewer than 100 renewals, where that would be the longest, the median.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Final

from .checker import Stream, Verdict, judge
from .child import Child
from .device import Task
from .reports import Report
from .schedule import Service
from .services import Endpoint, Mosquitto, client_id_of, down, up

BUDGET_MS: Final = 100.0
TOKEN_SECONDS: Final = 2.2
DOWN_PER_SECOND: Final = 20
_MANY: Final = 100
_LANE: Final = "renewals"
_TICKS_PER_SECOND: Final = 10


class Renewals:
    """One run against one service."""

    def __init__(self, name: Service, rate: float, count: int, protocol: str) -> None:
        self.name = name
        self.rate = rate
        self.count = count
        self._protocol = protocol
        self._offered = self._sent_down = 0
        self._arrived, self._handled = array("q"), array("q")
        self._accepted: set[int] = set()
        self._discarded: set[int] = set()
        self.acknowledged = self.failed = 0
        self.gaps: list[float] = []
        self._ready = False
        self.last_words = "it ended without a word"

    def run(self) -> None:
        """Run it to its end; bounded by twice the time that so many renewals should take."""
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="renewals-")))
            errors = stack.enter_context((directory / "errors").open("w+b"))
            lanes: dict[str, str] = {_LANE: self.name}
            service: Mosquitto | Endpoint
            if self.name == "mosquitto":
                service = Mosquitto(directory, lanes, self._arrived_up, errors)
            else:
                service = Endpoint(lanes, self._arrived_up, lambda _, number: self._discarded.add(number))
            stack.enter_context(service)
            task = Task(
                port=service.port,
                ca_file=str(service.ca_file),
                client_id=client_id_of(_LANE),
                protocol=self._protocol,  # type: ignore[arg-type]
                publishes_to=up(_LANE),
                subscribes_to=down(_LANE),
                first=0,
                rate=self.rate,
                outbox="",
                token_seconds=TOKEN_SECONDS,
            )
            child = Child("device_renewals", task, self._report, errors)
            stack.callback(lambda: child.kill() if child.alive else None)
            self._drive(child, service)
            errors.seek(0)
            if not child.done.is_set():
                self.last_words = errors.read().decode(errors="replace")[-800:]
            time.sleep(0.3)  # what arrived last is read from the event log

    def _drive(self, child: Child, service: Mosquitto | Endpoint) -> None:
        """Send down until there were enough renewals, wait until all that is handled, and let the device finish."""
        deadline = time.monotonic() + 30 + 2 * 1.3 * self.count
        while len(self.gaps) < self.count and child.alive and time.monotonic() < deadline:
            if self._ready:
                for _ in range(DOWN_PER_SECOND // _TICKS_PER_SECOND):
                    service.send(_LANE, self._sent_down, self._accepted.add)
                    self._sent_down += 1
            child.done.wait(1 / _TICKS_PER_SECOND)
        patience = time.monotonic() + 10
        while self.verdicts()[1].lost and time.monotonic() < patience:
            time.sleep(0.1)
        child.tell("finish")
        child.done.wait(30)

    def _arrived_up(self, _: str, number: int) -> None:
        self._arrived.append(number)

    def _report(self, report: Report) -> None:
        match report.kind:
            case "offered":
                self._offered = report.last + 1
            case "acknowledged":
                self.acknowledged += report.last - report.first + 1
            case "failed":
                self.failed += 1
                print(f"{self.name}: message {report.first} failed: {report.text}", flush=True)
            case "handled":
                self._handled.append(report.first)
            case "figures":
                self.gaps.append(float(report.text))
            case "subscribed":
                self._ready = True
            case "done":
                self.last_words = report.text
            case "note":
                print(f"{self.name}: {report.text}", flush=True)

    def verdicts(self) -> tuple[Verdict, Verdict]:
        """Return what became of the messages up, and down. Up, all that was given to publish() must arrive."""
        upwards = Stream(range(self._offered), self._arrived, self._offered, self._discarded)
        return judge(upwards), judge(Stream(frozenset(self._accepted), self._handled, self._sent_down))


def judged_gap(gaps: list[float]) -> float:
    """Return which of the gaps, the shortest first, must be within the budget."""
    return gaps[int(len(gaps) * (0.99 if len(gaps) >= _MANY else 0.5))]


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/renewals", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=500, help="renewals through mosquitto (default: 500)")
    parser.add_argument("--rate", type=float, default=5_000, help="messages a second through it (default: 5,000)")
    parser.add_argument("--endpoint-count", type=int, help="through the local endpoint (default: a tenth, at least 5)")
    parser.add_argument("--endpoint-rate", type=float, default=800, help="through it (default: 800)")
    parser.add_argument("--protocol", choices=("mqtt5", "mqtt311"), default="mqtt5")
    arguments = parser.parse_args()
    count = arguments.endpoint_count or max(5, arguments.count // 10)
    runs = (
        Renewals("mosquitto", arguments.rate, arguments.count, arguments.protocol),
        Renewals("endpoint", arguments.endpoint_rate, count, arguments.protocol),
    )
    print(f"about {sum(each.count for each in runs) * 1.2 / 60 + 0.3:.1f} minutes", flush=True)
    good = True
    lines = []
    for each in runs:
        each.run()
        upwards, downwards = each.verdicts()
        gaps = sorted(each.gaps) or [float("nan")]
        lost = len(upwards.lost) + len(downwards.lost) + each.failed
        met = (
            *(upwards.good, downwards.good, not upwards.repeated, upwards.promised == each.acknowledged),
            *(len(each.gaps) >= each.count, judged_gap(gaps) <= BUDGET_MS),
        )
        good = good and all(met)
        lines.append(
            f"{each.name:<10}{len(each.gaps):>9}{upwards.promised:>11,}{gaps[len(gaps) // 2]:>8.1f}"
            f"{gaps[int(len(gaps) * 0.99)]:>8.1f}{gaps[-1]:>8.1f}{upwards.repeated:>10}{downwards.repeated:>10}"
            f"{len(upwards.reordered) + len(downwards.reordered):>10}   lost {lost}"
        )
        print(f"{each.name}: {each.last_words}", flush=True)
    print(
        f"\n{'service':<10}{'renewals':>9}{'messages':>11}{'gap p50':>8}{'p99':>8}{'max ms':>8}{'twice up':>10}"
        f"{'down':>10}{'reordered':>10}   (budget: {BUDGET_MS:.0f} ms)"
    )
    print("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
