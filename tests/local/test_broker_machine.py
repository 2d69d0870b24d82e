"""The broker beside a model of it: what is delivered, to whom and in which order, is what the model says.

The model (`bench/fuzz/broker_model.py`) asks each subscription in turn, with lists instead of windows; after each
operation broker and model must agree. Operations take their choices from bytes, so hypothesis shrinks both: which
operations there are, and what they choose. The same worlds are what `scripts/fuzz` attacks by the hundred thousand.
"""

from __future__ import annotations

from depth import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bench.fuzz.broker_model import ModelledWorld
from bench.fuzz.broker_world import World
from bench.fuzz.dice import InputDice
from bench.fuzz.target_broker import run

CHOICES = st.binary(max_size=40)


class BrokerBesideModel(RuleBasedStateMachine):
    """Up to six clients, all that they may say, and time."""

    world: ModelledWorld

    @initialize(choices=CHOICES)
    def begin(self, choices: bytes) -> None:
        self.world = ModelledWorld(InputDice(choices))
        self.world.begin()

    def _do(self, choices: bytes, operation: str) -> None:
        world = self.world
        world.dice = InputDice(choices)
        world.at += 0.01
        world.now += 0.01
        world.forget_what_was_said()
        world.look(getattr(world, operation)())

    @rule(choices=CHOICES, operation=st.sampled_from(["speak", "speak", "speak", "acknowledge", "publish", "visit"]))
    def talk(self, choices: bytes, operation: str) -> None:
        self._do(choices, operation)

    @rule(choices=CHOICES, operation=st.sampled_from(["connect", "connect", "close", "end", "kick", "regrant"]))
    def come_and_go(self, choices: bytes, operation: str) -> None:
        self._do(choices, operation)

    @rule(choices=CHOICES, operation=st.sampled_from(["wait", "advance"]))
    def let_time_pass(self, choices: bytes, operation: str) -> None:
        self._do(choices, operation)

    @invariant()
    def broker_and_model_hold_the_same(self) -> None:
        self.world.check_sizes()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.forget_what_was_said()
            self.world.drain()
            self.world.check_sizes()
            self.world.empty()


BrokerBesideModel.TestCase.settings = settings(
    max_examples=examples(120), stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)
test_the_broker_does_what_its_model_says = BrokerBesideModel.TestCase


@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.too_slow])
@given(choices=st.binary(min_size=20, max_size=1_500))
def test_with_faults_rates_and_narrow_bounds_nothing_is_promised_that_is_not_kept(choices: bytes) -> None:
    run(choices)


def test_a_world_is_made_of_its_choices_alone() -> None:
    def sent() -> int:
        world = World(InputDice(bytes(range(200)) * 4), wild=True)
        world.begin()
        for _ in range(100):
            world.step()
        return world.watch.sent

    assert sent() == sent() > 0
