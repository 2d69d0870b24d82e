"""A few simulated hours pass as they should, and a day that went wrong would be noticed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # bench/ is no part of the package

from bench.simulated_day import Row, verdict  # noqa: E402


def day(**last: Any) -> list[Row]:
    """A good day, but for what its last hour is said to have been."""
    rows = [
        Row(
            hour=hour,
            fetches=hour + 1,
            connects=hour + 1,
            up=hour * 60,
            down=hour * 60,
            lost_connections=0,
            resident_kib=60_000,
            threads=8,
            files=15,
        )
        for hour in range(1, 25)
    ]
    return [*rows[:-1], dataclasses.replace(rows[-1], **last)]


def test_a_good_day_is_a_good_day() -> None:
    assert verdict(day()) == []


@pytest.mark.parametrize(
    "last",
    [
        {"fetches": 60, "connects": 60},
        {"fetches": 3, "connects": 3},
        {"connects": 26},
        {"lost_connections": 1},
        {"resident_kib": 70_000},
        {"threads": 20},
        {"files": 40},
    ],
    ids=str,
)
def test_a_day_that_went_wrong_is_noticed(last: dict[str, int]) -> None:
    assert len(verdict(day(**last))) == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
def test_four_hours_pass_with_one_fetch_for_each_renewal(protocol: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.simulated_day", "--short", "--protocol", protocol],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("all flat")
