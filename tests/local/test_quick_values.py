"""What is made quickly is the same as what `dataclass` makes: packets, messages, effects and events."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.codec import Publish
from iot_customauth_client.local.events import Delivered, Event
from iot_customauth_client.local.quick_values import quickly_made


@dataclass(frozen=True, slots=True)
class Slow:
    one: int
    two: str = "two"
    three: dict[str, int] = field(default_factory=dict)
    four: int = field(default=4, kw_only=True)


@quickly_made
@dataclass(frozen=True, slots=True)
class Quick:
    one: int
    two: str = "two"
    three: dict[str, int] = field(default_factory=dict)
    four: int = field(default=4, kw_only=True)


@given(
    st.integers(),
    st.fixed_dictionaries(
        {}, optional={"two": st.text(), "three": st.dictionaries(st.text(), st.integers()), "four": st.integers()}
    ),
)
def test_it_has_the_fields_that_the_slow_one_has(one: int, more: dict[str, object]) -> None:
    slow, quick = Slow(one, **more), Quick(one, **more)  # type: ignore[arg-type]
    assert asdict(quick) == asdict(slow)
    assert repr(quick) == repr(slow).replace("Slow", "Quick")
    assert quick == Quick(one, **more)  # type: ignore[arg-type]
    assert type(quick) is Quick


def test_it_is_frozen() -> None:
    made = Publish("topic", b"payload")
    with pytest.raises(FrozenInstanceError):
        made.topic = "another"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del made.topic
    assert made == Publish(topic="topic", payload=b"payload", qos=0)


def test_it_can_be_replaced_copied_pickled_and_taken_apart() -> None:
    made = Delivered(1, "client", "topic", b"payload", 1, False)
    assert replace(made, topic="another") == Delivered(1, "client", "another", b"payload", 1, False)
    assert copy.copy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert isinstance(made, Event)
    assert (made.sequence, made.at) == (0, None)
    match made:
        case Delivered(connection=1, topic=topic):
            assert topic == "topic"


def test_each_has_a_default_of_its_own() -> None:
    assert Quick(1).three is not Quick(1).three


def test_what_is_missing_or_too_much_is_told() -> None:
    with pytest.raises(TypeError, match="one"):
        Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="five"):
        Quick(1, five=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Quick(1, "", {}, 4)  # type: ignore[misc]


def test_a_subclass_is_made_as_well() -> None:
    class Plain(Quick):
        """With a dictionary: another layout."""

    assert Plain(1, four=5).four == 5
    assert type(Plain(1)) is Plain


def test_a_class_that_it_does_not_fit_is_refused() -> None:
    @dataclass(frozen=True)
    class WithoutSlots:
        one: int

    @dataclass(frozen=True, slots=True)
    class WithMore:
        one: int

        def __post_init__(self) -> None: ...

    @dataclass(slots=True)
    class Thawed:
        one: int

    for cls in (WithoutSlots, WithMore, Thawed, int):
        with pytest.raises(TypeError):
            quickly_made(cls)
