"""Attacks everything of the local endpoint that reads what a stranger sent, and prints what became of it.

The last line is the verdict, and the exit status is 0 only if nothing was found. A failing input is shrunk and kept in
a file, with the line that runs it again.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from .findings import read_finding
from .hunt import replay
from .targets import TARGETS, hunt_by_name
from .verdict import HEADING, Verdict

PACKETS: Final = 1_000_000
CONNECTIONS: Final = 10_000
SHORT_PACKETS: Final = 30_000
SHORT_CONNECTIONS: Final = 300
FINDINGS: Final = Path("fuzz-findings")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    given = _read(arguments)
    if given.replay is not None:
        return _replay(given.replay)
    if given.atheris is not None:
        return _atheris(given.atheris, given.rest)
    seed = random.randrange(2**32) if given.seed is None else given.seed
    names = given.target or list(TARGETS)
    packets = given.packets if given.packets is not None else SHORT_PACKETS if given.short else PACKETS
    connections = (
        given.connections if given.connections is not None else SHORT_CONNECTIONS if given.short else CONNECTIONS
    )
    if given.target is not None and given.connections is None:
        connections = 0
    print(f"seed {seed}, Python {sys.version.split()[0]}, {packets:,} packets to {', '.join(names)}", flush=True)
    began = time.monotonic()
    verdicts = _hunt_all(names, packets, seed, given) if packets else []
    clean = _tell(verdicts, given)
    served = not connections or _connections(connections, seed)
    total = sum(verdict.packets for verdict in verdicts)
    wrong = [] if clean else [f"FOUND {sum(len(verdict.findings) for verdict in verdicts)}"]
    wrong += [] if served else ["the connections left something WRONG"]
    print(
        f"{total:,} packets and {connections:,} connections in {time.monotonic() - began:.0f} s: "
        f"{', '.join(wrong) or 'nothing found'}"
    )
    return 1 if wrong else 0


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Attack the local endpoint with hostile input.")
    parser.add_argument("--packets", type=int, help=f"packets, requests and documents in total; {PACKETS:,} by default")
    parser.add_argument("--connections", type=int, help=f"hostile connections; {CONNECTIONS:,}, or none with --target")
    parser.add_argument("--seed", type=int, help="makes the same inputs again; without it, another run each time")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one; may be repeated")
    parser.add_argument(
        "--short", action="store_true", help=f"{SHORT_PACKETS:,} packets, {SHORT_CONNECTIONS} connections"
    )
    parser.add_argument("--minutes", type=float, help="end after so long, however many packets it were")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, one for each target; 2 by default")
    parser.add_argument("--missed", action="store_true", help="print the lines that no input reached")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input that failed")
    parser.add_argument("--atheris", choices=list(TARGETS), metavar="TARGET", help="let atheris make the inputs")
    parser.add_argument("rest", nargs="*", help="behind `--`: passed on to atheris")
    return parser.parse_args(arguments)


# -- packets -----------------------------------------------------------------------------------------------------------


def _hunt_all(names: Sequence[str], packets: int, seed: int, given: argparse.Namespace) -> list[Verdict]:
    """Attack each target in a process of its own, the longest first, so that its memory is nobody else's."""
    whole = sum(TARGETS[name].share for name in names)
    minutes = None if given.minutes is None else given.minutes * 60
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, given.jobs), mp_context=context, max_tasks_per_child=1) as pool:
        running = {
            name: pool.submit(hunt_by_name, name, max(1, round(packets * TARGETS[name].share / whole)), seed, minutes)
            for name in sorted(names, key=lambda name: -TARGETS[name].share)
        }
        return [running[name].result() for name in names]


def _tell(verdicts: Sequence[Verdict], given: argparse.Namespace) -> bool:
    if not verdicts:
        return True
    print(HEADING)
    for verdict in verdicts:
        print(verdict.line())
    print()
    for verdict in verdicts:
        print(verdict.told())
        if given.missed:
            print("    not reached: " + ", ".join(f"{name}:{line}" for name, line in verdict.missed))
    for verdict in verdicts:
        for finding in verdict.findings:
            path = finding.save(FINDINGS)
            print(f"\nFOUND in {verdict.name}: {finding.where}: {finding.problem}")
            print(f"    {len(finding.data)} bytes: {finding.data[:80].hex()}")
            print(f"    scripts/fuzz --replay {path}")
    return all(verdict.passed for verdict in verdicts)


# -- connections -------------------------------------------------------------------------------------------------------


def _connections(count: int, seed: int) -> bool:
    """Run the other half, and print what it says."""
    if importlib.util.find_spec("bench.fuzz.connections") is None:
        print("connections: not here")
        return True
    run: Callable[[int, int], object] = importlib.import_module("bench.fuzz.connections").run_connections
    verdict = run(count, seed)
    print(verdict)
    return bool(verdict)


# -- one input, and other makers of inputs -----------------------------------------------------------------------------


def _replay(path: Path) -> int:
    name, data = read_finding(path)
    try:
        outcome = replay(TARGETS[name], data)
    except Exception:  # noqa: BLE001 - shown, which is what this is for
        traceback.print_exc()
        print(f"{name}: it still fails")
        return 1
    print(f"{name}: {outcome.label}")
    return 0


def _atheris(name: str, rest: Sequence[str]) -> int:
    """Hand the target to atheris, if it is installed: it finds by itself what leads deeper."""
    try:
        import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        print("atheris is not installed: pip install atheris (it has wheels for CPython 3.11 to 3.13)", file=sys.stderr)
        return 2
    target = TARGETS[name]
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *rest], partial(_run_quietly, target.run))
    atheris.Fuzz()
    return 0


def _run_quietly(run: Callable[[bytes], object], data: bytes) -> None:
    run(data)


if __name__ == "__main__":
    sys.exit(main())
