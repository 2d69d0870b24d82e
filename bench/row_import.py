"""What importing this package costs over awscrt's MQTT 5 and pydantic's names; `import_cost.py` has the details."""

from __future__ import annotations

from harness import Bench, Figure
from import_cost import extra_milliseconds


def rows(bench: Bench) -> list[Figure]:
    extra = extra_milliseconds(5 if bench.quick else 9)
    return [Figure("import", "<= 45 ms", f"{extra:.1f} ms", extra <= 45, "<= 20 ms", extra <= 20)]
