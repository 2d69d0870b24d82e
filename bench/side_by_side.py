"""Every budget of this package, measured side by side with raw awscrt, paho and aiomqtt in one run.

Figures are ratios within one run: absolute numbers of different runs, or machines, cannot be compared. Prints a table:
row, budget, figure, `met` or `MISSED`, and whether the aim behind the budget is reached. Exits with 1 if a budget is
missed. Usage: scripts/bench [--quick] [ROW...]; without rows all of them, `--quick` in at most 10 minutes.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback

from harness import Bench, Figure, broker

ROWS = (
    "publish",
    "lone",
    "aio_publish",
    "receive",
    "aio_receive",
    "sqlite",
    "reply",
    "renewal",
    "import",
    "memory",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the budgets of this package.")
    parser.add_argument("--quick", action="store_true", help="fewer messages and repetitions")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all if none is given")
    arguments = parser.parse_args()
    for name in arguments.rows:
        if name not in ROWS:
            parser.error(f"no row is called {name!r}: there are {', '.join(ROWS)}")
    figures: list[Figure] = []
    began = time.monotonic()
    with broker() as (port, ca_file, directory):
        bench = Bench(port, ca_file, directory, arguments.quick)
        for name in arguments.rows or ROWS:
            print(f"{name} ...", flush=True)
            started = time.monotonic()
            figures += measure(name, bench)
            print(f"    {time.monotonic() - started:.0f} s", flush=True)
    print_table(figures)
    print(f"{time.monotonic() - began:.0f} s")
    return int(any(figure.met is False for figure in figures))


def measure(name: str, bench: Bench) -> list[Figure]:
    """Measure one row; one that breaks is missed, and the others go on."""
    try:
        return list(importlib.import_module(f"row_{name}").rows(bench))
    except Exception as error:  # noqa: BLE001 - told in the table
        traceback.print_exc()
        return [Figure(name, "runs", f"{type(error).__name__}: {error}"[:60], False)]


def print_table(figures: list[Figure]) -> None:
    words = {True: "met", False: "MISSED", None: "-"}
    lines = [("row", "budget", "figure", "", "aim", "")]
    for each in figures:
        aimed = "" if each.aimed is None else "reached" if each.aimed else "not yet"
        lines.append((each.row, each.must, each.value, words[each.met], each.aim, aimed))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
