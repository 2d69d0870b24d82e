"""Runs plain awscrt, paho and this package through the same faults, one after the other, and prints what each lost.

The last line is this package's, and the exit status is 0 only if it says `lost 0`, with nothing out of order and memory
flat; in the long form also only after at least 200 faults that happened and 200,000 messages. A device of this package
stores what it publishes (`SqliteOutbox`, `wait_stored`); lost is what was stored or acknowledged and never arrived, or
was accepted by the service for the device and never handled. The others promise nothing of the kind: for them, lost is
what publish() took without a failure then or later. `failed` are failures that the library told.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

from .lane import Kind
from .run import LANES, Extent, Outcome, run, schedule_of

SHORT: Final = Extent(
    seconds=48.0,
    per_lane=8,
    longest=4.0,
    rates={"mosquitto": 60.0, "endpoint": 30.0},
    token_seconds=20.0,
    always_told=True,
    settle_seconds=20.0,
)
LONG: Final = Extent(
    seconds=390.0,
    per_lane=28,
    longest=30.0,
    rates={"mosquitto": 60.0, "endpoint": 30.0},
    token_seconds=90.0,
    always_told=False,
    settle_seconds=45.0,
)
LEAST_FAULTS: Final = 200
LEAST_MESSAGES: Final = 200_000
FLAT_MIB: Final = 16.0
"""By how much a process may have grown between its second and its last quarter of life."""


def kinds_of(client: str, faces: list[str], protocols: list[str]) -> dict[str, Kind]:
    """Return what the devices of a client are, by lane: every second one of this package's is of the other face."""
    if client != "ours":
        return {name: Kind(f"device_{client}", "mqtt5", durable=False) for name in LANES}
    kinds: dict[str, Kind] = {}
    for place, name in enumerate(LANES):
        face, protocol = ("sync", "aio")[place % 2], ("mqtt5", "mqtt311")[place // 2 % 2]
        if face in faces and protocol in protocols:
            kinds[name] = Kind(f"device_{face}", protocol, durable=True)  # type: ignore[arg-type]
    return kinds


def line(outcome: Outcome) -> str:
    """Return a line of the table."""
    both = outcome.both
    return (
        f"{outcome.client:<8}{outcome.devices:>8}{outcome.faults - outcome.skipped:>7}{outcome.up.promised:>10,}"
        f"{outcome.down.promised:>10,}{both.repeated:>10,}{len(both.reordered):>10,}{outcome.failed:>8,}"
        f"{outcome.growth:>+11.1f}   lost {len(both.lost):,}"
    )


def failures(outcome: Outcome, *, whole: bool) -> list[str]:
    """Return what is wrong with an outcome; `whole`: it was the long form, with all devices."""
    faults, messages = outcome.faults - outcome.skipped, outcome.up.promised + outcome.down.promised
    found = {
        "messages were lost or out of order": not outcome.both.good,
        "there were no messages in one direction": not (outcome.up.promised and outcome.down.promised),
        f"a process grew by more than {FLAT_MIB:g} MiB": outcome.growth > FLAT_MIB,
        f"only {faults} faults happened, not {LEAST_FAULTS}": whole and faults < LEAST_FAULTS,
        f"only {messages:,} messages were promised, not {LEAST_MESSAGES:,}": whole and messages < LEAST_MESSAGES,
    }
    return [text for text, wrong in found.items() if wrong]


HEAD: Final = (
    f"{'client':<8}{'devices':>8}{'faults':>7}{'up':>10}{'down':>10}{'repeated':>10}{'reordered':>10}{'failed':>8}"
    f"{'MiB grown':>11}   verdict"
)


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="at most 5 minutes in all, fewer faults and messages")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule (default: 1)")
    parser.add_argument("--client", action="append", choices=("awscrt", "paho", "ours"), help="only these")
    parser.add_argument("--face", action="append", choices=("sync", "aio"), help="of this package, only these")
    parser.add_argument("--protocol", action="append", choices=("mqtt5", "mqtt311"), help="the same")
    parser.add_argument("--log", default=os.devnull, help="file to which what the devices log is appended")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every fault and what devices say")
    arguments = parser.parse_args()
    extent = SHORT if arguments.short else LONG
    clients = [name for name in ("awscrt", "paho", "ours") if name in (arguments.client or ["awscrt", "paho", "ours"])]
    faults = schedule_of(arguments.seed, extent)
    each = extent.seconds + extent.settle_seconds + 25
    print(
        f"seed {arguments.seed}: {len(faults)} faults on {len(LANES)} devices in {extent.seconds:.0f} s, both ways "
        f"{', '.join(f'{rate:g}/s through {name}' for name, rate in extent.rates.items())} for each device; "
        f"at most {len(clients) * each / 60:.0f} minutes",
        flush=True,
    )
    began = time.monotonic()

    def say(text: str) -> None:
        if arguments.verbose:
            print(f"{time.monotonic() - began:7.1f}  {text}", flush=True)

    outcomes: list[Outcome] = []
    for client in clients:
        kinds = kinds_of(client, arguments.face or ["sync", "aio"], arguments.protocol or ["mqtt5", "mqtt311"])
        outcome = run(client, kinds, extent, faults, Path(arguments.log), say)
        outcomes.append(outcome)
        print(
            f"{client}: {outcome.seconds:.0f} s; lost up {len(outcome.up.lost):,}, down {len(outcome.down.lost):,}; "
            f"{outcome.skipped} faults left out; {outcome.unpromised} messages gone before they were promised",
            flush=True,
        )
    whole = not (arguments.short or arguments.face or arguments.protocol)
    wrong = failures(outcomes[-1], whole=whole)
    for text in wrong:
        print(f"not good: {text}")
    print(f"\n{HEAD}")
    for outcome in outcomes:
        print(line(outcome))
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
