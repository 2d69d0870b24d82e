"""`docs/fidelity.md` says what its rows say, its tests exist, and a behaviour that is taken out is missed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
QUICK = ("alpn-mqtt-is-exact", "deny-wins")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.fidelity", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.mark.timeout(180)
def test_page_rows_tests_and_changes_fit_the_package() -> None:
    checked = run("--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.endswith(" rows, 0 problems\n")


@pytest.mark.timeout(180)
def test_a_behaviour_that_is_taken_out_is_missed() -> None:
    proved = run("--prove", "--only", *QUICK)
    assert proved.returncode == 0, proved.stdout + proved.stderr
    assert f"{len(QUICK)} of {len(QUICK)} rows proved" in proved.stdout
