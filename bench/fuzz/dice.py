"""Choices for generators, from one of two sources: a seed, or the bytes of an input.

A generator that takes its choices from an input turns any bytes into something well-formed, and bytes that differ a
little into something that differs a little: that is what lets a sequence of operations be mutated and shrunk like any
other input. When the bytes are used up every choice is the first one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Chooser(Protocol):
    """Who can choose one of several."""

    def below(self, limit: int) -> int:
        """Return a number from 0 to below `limit`."""
        ...


class Dice(Chooser, Protocol):
    """A source of choices."""

    def bytes(self, count: int) -> bytes:
        """Return so many bytes."""
        ...


class SeededDice:
    """Choices that a seed decides."""

    __slots__ = ("_random",)

    def __init__(self, seed: random.Random) -> None:
        self._random = seed

    def below(self, limit: int) -> int:
        """Return a number from 0 to below `limit`."""
        return int(self._random.random() * limit)

    def bytes(self, count: int) -> bytes:
        """Return so many bytes."""
        return self._random.randbytes(count)


class InputDice:
    """Choices that an input decides."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether there are bytes left."""
        return self._at < len(self._data)

    @property
    def rest(self) -> bytes:
        """The bytes that are left; they count as used then."""
        rest = self._data[self._at :]
        self._at = len(self._data)
        return rest

    def below(self, limit: int) -> int:
        """Return a number from 0 to below `limit`: of one byte, or of as many as the limit needs."""
        width = 1 if limit <= 256 else (limit.bit_length() + 7) // 8
        return int.from_bytes(self.bytes(width), "big") % limit

    def bytes(self, count: int) -> bytes:
        """Return so many bytes, zeros behind the end."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken if len(taken) == count else taken + bytes(count - len(taken))


def pick(dice: Chooser, items: Sequence[Item]) -> Item:
    """Choose one of the items."""
    return items[dice.below(len(items))]


def chance(dice: Chooser, percent: int) -> bool:
    """Say yes so often."""
    return dice.below(100) < percent
