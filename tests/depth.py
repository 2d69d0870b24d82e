"""How many examples each property is tried with: the number that stands with it, times `PROPERTY_DEPTH`.

The suite draws new examples each time, few enough for its five minutes; `scripts/properties` looks deeper. Limits of
time for one example are off everywhere: how fast a machine is says nothing about what is true.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

DEPTH: Final = int(os.environ.get("PROPERTY_DEPTH", "1"))

_UNSAID: Final = 100


def examples(number: int) -> int:
    """Return how many examples there are to be of a property that has so many in the suite."""
    return number * DEPTH


def load_profile() -> None:
    """Make this hold for properties without settings of their own; what was chosen before is kept."""
    settings.register_profile("suite", settings(), deadline=None, max_examples=examples(_UNSAID))
    settings.load_profile("suite")
