"""Writes `docs/fidelity.md` from the rows in `tests/fidelity/`, checks it, or proves the rows.

scripts/fidelity                                                    writes the page
scripts/fidelity --check                                            changes nothing; says what does not fit
scripts/fidelity --prove [--only ROW ...] [--sample N --seed S]     takes each behaviour out and runs its tests
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .page import PAGE, write_page
from .prove import Verdict, prove
from .rows import ROOT, BadRows, Row, Section, every_row, misplaced_changes, read_sections, unfit_settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fidelity", description="The page of the local endpoint's fidelity.")
    parser.add_argument("--check", action="store_true", help="write nothing; check page, tests and changes")
    parser.add_argument("--prove", action="store_true", help="take each behaviour out: its tests must fail")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="prove only these rows")
    parser.add_argument("--sample", type=int, metavar="N", help="prove N rows chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of the choice (0)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (2)")
    chosen = parser.parse_args()
    try:
        sections = read_sections()
    except BadRows as error:
        print(error)
        return 1
    if chosen.prove:
        return _prove(_selected(every_row(sections), chosen, parser), max(chosen.jobs, 1))
    if chosen.check:
        return _check(sections)
    PAGE.write_text(write_page(sections))
    print(f"wrote {PAGE.relative_to(ROOT)}: {len(every_row(sections))} rows")
    return 0


def _selected(rows: list[Row], chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> list[Row]:
    if chosen.only:
        unknown = set(chosen.only) - {row.id for row in rows}
        if unknown:
            parser.error(f"no such row: {', '.join(sorted(unknown))}")
        rows = [row for row in rows if row.id in chosen.only]
    rows = [row for row in rows if row.taken_out is not None]
    if chosen.sample is not None:
        rows = random.Random(chosen.seed).sample(rows, min(chosen.sample, len(rows)))
    if not rows:
        parser.error("none of these rows claims anything that could be proved")
    return rows


def _check(sections: Sequence[Section]) -> int:
    rows = every_row(sections)
    problems = misplaced_changes(rows)
    problems += unfit_settings(rows)
    problems += _missing_tests(rows)
    if not PAGE.exists() or PAGE.read_text() != write_page(sections):
        problems.append(f"{PAGE.relative_to(ROOT)} is not what the rows say: run scripts/fidelity")
    for problem in problems:
        print(problem)
    print(f"{len(rows)} rows, {len(problems)} problems")
    return 1 if problems else 0


def _missing_tests(rows: Sequence[Row]) -> list[str]:
    """Say which tests do not exist. Read from the files' text, since importing them all takes long.

    Whether a test has the parameters that a row names in brackets is seen when the row is proved.
    """
    found = {file: _tests_in(ROOT / "tests" / file) for row in rows for file in row.test_files}
    problems: list[str] = []
    for row in rows:
        for node in row.tests:
            file, _, test = node.partition("::")
            if test.partition("[")[0] not in found[file]:
                problems.append(f"{row.id}: there is no test {node}")
    return problems


def _tests_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions))


def _prove(rows: list[Row], jobs: int) -> int:
    began = time.monotonic()

    def tell(verdict: Verdict) -> None:
        word = "proved" if verdict.proved else "NOT PROVED"
        print(f"{word:10} {verdict.seconds:5.1f} s  {verdict.row.id}: {verdict.reason}", flush=True)

    verdicts = prove(rows, jobs=jobs, tell=tell)
    failed = [verdict for verdict in verdicts if not verdict.proved]
    seconds = time.monotonic() - began
    print(f"{len(verdicts) - len(failed)} of {len(verdicts)} rows proved in {seconds:.0f} s")
    if failed:
        print("not proved: " + ", ".join(verdict.row.id for verdict in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
