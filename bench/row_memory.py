"""What one more connection over TLS costs in resident memory, against a raw `awscrt.mqtt5.Client`.

Each sample is a fresh process that opens some connections to warm up, and then many more.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from pathlib import Path
from typing import Any

from harness import CREDENTIALS, SPAWN, WAIT, Bench, Figure, Loop, Raw
from row_aio_publish import open_connection

from iot_customauth_client import connect

WARM_UP = 30
COUNT = 200


def _resident_bytes() -> int:
    gc.collect()
    time.sleep(1.0)  # threads that have nothing to do any more, and what awscrt frees late
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def _raw(bench: Bench, count: int) -> list[Any]:
    return [Raw(bench) for _ in range(count)]


def _ours(bench: Bench, count: int) -> list[Any]:
    return [connect(bench.settings(), credentials=CREDENTIALS, timeout=WAIT) for _ in range(count)]


def _aio(bench: Bench, count: int) -> list[Any]:
    loop = Loop()
    return [loop, *(loop.run(open_connection(bench)) for _ in range(count))]


VARIANTS = {"raw": _raw, "sync": _ours, "asyncio": _aio}


def _measure(bench: Bench, name: str, pipe: Any) -> None:
    make = VARIANTS[name]
    held = make(bench, WARM_UP)
    before = _resident_bytes()
    held += make(bench, COUNT)
    pipe.send((_resident_bytes() - before) / COUNT)
    os._exit(0)  # nothing of this is to be closed in good order


def rows(bench: Bench) -> list[Figure]:
    samples: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(bench.repetitions):
        for name, sizes in samples.items():
            pipe, theirs = SPAWN.Pipe()
            process = SPAWN.Process(target=_measure, args=(bench, name, theirs))
            process.start()
            theirs.close()
            assert pipe.poll(4 * WAIT)
            sizes.append(pipe.recv())
            process.join(WAIT)
    middle = {name: statistics.median(sizes) for name, sizes in samples.items()}
    print("    " + ", ".join(f"{name} {size / 1024:.1f} KiB" for name, size in middle.items()))
    return [
        Figure(
            f"memory per connection, {name}",
            "<= 1.15x raw",
            f"{middle[name] / 1024:.1f} KiB, {middle[name] / middle['raw']:.2f}x",
            middle[name] <= 1.15 * middle["raw"],
            "<= 1.05x",
            middle[name] <= 1.05 * middle["raw"],
        )
        for name in samples
        if name != "raw"
    ]
