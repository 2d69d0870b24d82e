"""The broker, twice: with everything at once, and beside a model of it.

Whatever several clients do, in whatever order, with time going on. An input is a sequence of operations
(`broker_world`). Promises: what `broker_watch` says of each effect, what `World.check_sizes` says of what is held after
each step, and that nothing is left when all have gone; of the second also what `broker_model` says.
"""

from __future__ import annotations

import random
from typing import Final

from .broker_model import ModelledWorld
from .broker_world import World
from .dice import InputDice
from .target import Outcome, Target

FILES: Final = tuple(
    f"local/{name}.py"
    for name in (
        *("admission", "agenda", "answers", "arrivals", "broker", "connections", "deliveries", "dialogue"),
        *("live_connection", "message", "outbound", "permissions", "post", "quotas", "retained", "router", "routing"),
        *("sessions", "shared_group", "sharing", "topic_aliases", "topic_rules", "visitor"),
    )
)


def make(seed: random.Random) -> bytes:
    """Bytes for a few to some hundred operations."""
    return seed.randbytes(seed.choice((100, 400, 1_500, 4_000)))


def run(data: bytes) -> Outcome:
    """Do all operations, then let everybody go."""
    dice = InputDice(data)
    world = World(dice, wild=True)
    world.begin()
    while dice.more:
        world.step()
    sizes = world.check_sizes()
    world.empty()
    held = " ".join(name for name, size in sizes.items() if size)
    return Outcome(f"holds {held}" if held else "holds nothing", max(1, world.packets))


BROKER: Final = Target("broker", 0.15, make, run, FILES)


def run_beside_model(data: bytes) -> Outcome:
    """Do all operations without faults, rates and narrow bounds, and compare with the model after each."""
    dice = InputDice(data)
    world = ModelledWorld(dice)
    world.begin()
    while dice.more:
        world.step()
    world.drain()
    sizes = world.check_sizes()
    world.empty()
    held = " ".join(name for name, size in sizes.items() if size)
    return Outcome(f"holds {held}" if held else "holds nothing", max(1, world.packets))


MODEL: Final = Target("model", 0.10, make, run_beside_model, FILES)
