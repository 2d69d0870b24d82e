"""What a process has stored outlives it, however often it is killed: the short form of `scripts/outbox_kill`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "bench" / "outbox_kill.py"


def test_ten_kills_lose_nothing_that_was_stored() -> None:
    paths = [str(SCRIPT.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--short"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.rstrip().endswith("lost 0"), ran.stdout
