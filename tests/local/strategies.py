"""Hypothesis strategies for MQTT packets: every packet that the specification allows, of both versions.

How a packet is made stands in `bench/fuzz/packets.py`, by the codec's own tables; here is what it is made of. `packets`
is any packet of a version, `client_packets` only what a client may send after its CONNECT, `made` one of a kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hypothesis import strategies as st

from iot_customauth_client.local.codec import Connect, Packet, Property, Version

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # bench/ is no part of the package

from bench.fuzz.packets import KINDS, Parts, client_packet, connect

if TYPE_CHECKING:
    import random

    from hypothesis.strategies import SearchStrategy

PacketT = TypeVar("PacketT")

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20)
_levels = st.sampled_from(["", "+", "devices", "client_id", "$aws", "é", "a b"])
_filters = st.builds(
    lambda share, levels, tail: share + ("/".join([*levels, *tail]) or "+"),
    st.sampled_from(["", "", "$share/group/"]),
    st.lists(_levels, min_size=1, max_size=4),
    st.sampled_from([[], ["#"]]),
)
_blobs = st.binary(max_size=40)


class AnyParts:
    """All that MQTT allows, as hypothesis draws it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def below(self, limit: int) -> int:
        return self._draw(st.integers(0, limit - 1))

    def chance(self, percent: int) -> bool:
        """Either: hypothesis does not weigh."""
        del percent
        return self._draw(st.booleans())

    def number(self, minimum: int, maximum: int) -> int:
        return self._draw(st.integers(minimum, maximum))

    def text(self) -> str:
        return self._draw(_texts)

    def topic(self) -> str:
        return self._draw(_topics)

    def topic_filter(self) -> str:
        """One that is valid."""
        return self._draw(_filters)

    def blob(self) -> bytes:
        return self._draw(_blobs)

    def some(self, keys: Sequence[Property]) -> Sequence[Property]:
        return self._draw(st.lists(st.sampled_from(keys), unique=True)) if keys else ()


def made(make: Callable[[Parts, Version], PacketT], version: Version) -> SearchStrategy[PacketT]:
    """What a function of `bench.fuzz.packets` makes."""

    @st.composite
    def drawn(draw: st.DrawFn) -> PacketT:
        return make(AnyParts(draw), version)

    return drawn()


def connects(version: Version) -> SearchStrategy[Connect]:
    """Any CONNECT."""
    return made(connect, version)


def packets(version: Version) -> SearchStrategy[Packet]:
    """Any packet of the version, whoever sends it."""
    return st.one_of(
        *(made(make, version) for name, make in KINDS.items() if name != "auth" or version is Version.MQTT5)
    )


def client_packets(version: Version) -> SearchStrategy[Packet]:
    """Any packet that a client may send once it is connected."""
    return made(client_packet, version)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The packet with one to three of its bytes changed, dropped or doubled; often its length is mended."""
    body = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(body))
        match dice.randrange(4):
            case 0:
                body[at] = dice.randrange(256)
            case 1:
                body[at] ^= 1 << dice.randrange(8)
            case 2 if len(body) > 2:
                del body[at]
            case _:
                body.insert(at, dice.randrange(256))
    if len(body) < 130 and dice.random() < 0.7:
        body[1:2] = bytes((max(0, len(body) - 2),))
    return bytes(body)
