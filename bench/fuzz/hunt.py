"""The loop: make an input, run it, time it, count what became of it, keep what fails.

First a guided phase with coverage: an input that reaches a line for the first time is kept. Then, without that cost,
the bulk: inputs are made anew, or are kept ones that were mutated; one with an outcome that is new is kept too. The
same seed makes the same inputs.

An input that takes longer than `MOST_SECONDS`, three times in a row, is a finding as well: nothing that a stranger can
send in one piece may occupy the endpoint so long. So is memory that grows with the number of inputs.
"""

from __future__ import annotations

import gc
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from .coverage import Coverage
from .findings import Finding, place_of
from .mutation import mutate
from .shrink import shrink
from .target import Broken, Outcome, Target
from .verdict import Verdict

MOST_SECONDS: Final = 2.0
"""Seconds that one input may take, on a machine that has other things to do too."""
MOST_GROWTH_MIB: Final = 24.0
"""MiB by which the process may have grown between the first third of the bulk and its end."""
GUIDED: Final = 2_500
"""Inputs of the guided phase, of a long run."""

MOST_KEPT: Final = 5_000
"""Inputs that are kept at most."""

_HUNG_SECONDS: Final = 60.0
_KINDS_OF_FINDINGS: Final = 20


class Hung(Broken):
    """An input that came to no end."""


def hunt(target: Target, packets: int, seed: int, *, seconds: float | None = None) -> Verdict:
    """Attack a target with so many packets, or for so many seconds if that is over first."""
    chance = random.Random(f"{target.name} {seed}")
    verdict = Verdict(target.name)
    deadline = None if seconds is None else time.monotonic() + seconds
    coverage = Coverage(target.files)
    kept: list[bytes] = []
    _attack(target, target.make(chance), verdict, count=False)  # what the first use loads is not a leak
    before = memory_mib()
    began = time.monotonic()
    with coverage.watching() as reached_new:
        for _ in range(min(GUIDED, max(50, packets // 40))):
            data = _next(target, chance, kept)
            new = _attack(target, data, verdict)
            if reached_new() or new:
                kept.append(data)
            if verdict.packets >= packets / 5 or _over(deadline):
                break
    settled: float | None = None
    while verdict.packets < packets and not _over(deadline):
        data = _next(target, chance, kept)
        if _attack(target, data, verdict, timed=True) and len(kept) < MOST_KEPT:
            kept.append(data)
        if settled is None and verdict.packets > packets / 3:
            settled = memory_mib()
    verdict.kept = len(kept)
    verdict.seconds = time.monotonic() - began
    gc.collect()
    after = memory_mib()
    verdict.memory = (before, after)
    verdict.missed = coverage.missed()
    verdict.lines, verdict.lines_known = coverage.share()
    if settled is not None and after - settled > MOST_GROWTH_MIB:
        problem = f"memory grew from {settled:.0f} to {after:.0f} MiB in the last two thirds of the run"
        verdict.findings.append(Finding(target.name, b"", "memory", problem))
    return verdict


def replay(target: Target, data: bytes) -> Outcome:
    """Run one input, and let what it raises through."""
    with _alarm():
        return target.run(data)


def _over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _next(target: Target, chance: random.Random, kept: list[bytes]) -> bytes:
    """Make an input: two in five of those that were kept, mutated; the others anew."""
    if not kept or chance.random() < 0.6:
        return target.make(chance)
    data = mutate(chance.choice(kept), chance, others=kept)
    return data if target.mend is None or chance.random() < 0.3 else target.mend(data, chance)


def _attack(target: Target, data: bytes, verdict: Verdict, *, count: bool = True, timed: bool = False) -> bool:
    """Run one input; tell whether its outcome is a new one."""
    started = time.perf_counter()
    try:
        with _alarm():
            outcome = target.run(data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        _found(target, data, error, verdict)
        verdict.inputs += 1
        verdict.packets += 1
        return False
    took = time.perf_counter() - started
    if not count:
        return False
    verdict.inputs += 1
    verdict.packets += outcome.packets
    verdict.outcomes[outcome.label] += 1
    if timed and took > verdict.slowest_seconds:
        if took > MOST_SECONDS / 10:
            took = min(took, *(_time(target, data) for _ in range(2)))  # others use the processor too
        if took > verdict.slowest_seconds:
            verdict.slowest_seconds, verdict.slowest_bytes = took, len(data)
        if took > MOST_SECONDS:
            verdict.findings.append(Finding(target.name, data, "time", f"it took {took:.1f} s"))
    return verdict.outcomes[outcome.label] == 1


def _time(target: Target, data: bytes) -> float:
    started = time.perf_counter()
    target.run(data)
    return time.perf_counter() - started


def _found(target: Target, data: bytes, error: BaseException, verdict: Verdict) -> None:
    where = place_of(error)
    if any(finding.where == where for finding in verdict.findings) or len(verdict.findings) >= _KINDS_OF_FINDINGS:
        return

    def fails(tried: bytes) -> bool:
        try:
            with _alarm():
                target.run(tried)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as other:  # noqa: BLE001 - as above
            return place_of(other) == where
        return False

    small = data if isinstance(error, Hung) else shrink(data, fails)
    verdict.findings.append(Finding(target.name, small, where, str(error)))


@contextmanager
def _alarm() -> Iterator[None]:
    """Raise `Hung` in an input that does not come to an end."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hung(f"it came to no end within {_HUNG_SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    others = signal.setitimer(signal.ITIMER_REAL, _HUNG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *others)  # a test runner's, say


def memory_mib() -> float:
    """Return what this process holds of memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20
