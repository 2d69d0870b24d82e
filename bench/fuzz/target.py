"""What a target is: something that reads what a stranger sent, with a maker of inputs and the promises it keeps.

`run` returns an `Outcome`, and raises for an input that breaks a promise: any exception is a finding, `Broken` is one
that says which promise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Broken(Exception):
    """A promise of the code under test does not hold; the sentence says which."""


class Outcome(NamedTuple):
    """What became of an input.

    label: the branch it took, for the table of outcomes; never a value out of the input.
    packets: how many packets, requests or documents it counts as.
    """

    label: str
    packets: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """Something to be attacked.

    share: of all packets that a run makes.
    make: a new input. run: the test of one. mend: puts right what mutation broke and hides what is behind it (a length
        field, say), some of the time; None if there is nothing to.
    files: ends of the paths whose lines count for coverage.
    """

    name: str
    share: float
    make: Callable[[random.Random], bytes]
    run: Callable[[bytes], Outcome]
    files: Sequence[str]
    mend: Callable[[bytes, random.Random], bytes] | None = None


def ensure(condition: bool, promise: str) -> None:
    """Raise `Broken` unless the promise holds."""
    if not condition:
        raise Broken(promise)
