"""Texts that were checked once and come again: the topics of a device, a few for each, thousands of times a day.

A plain table of what was found good, shared by all connections. A peer chooses the texts, so it is bounded in number
and in the length of what it takes; when it is full it begins anew, which costs a busy topic one more check.
"""

from collections.abc import Sized
from typing import Final, Generic, TypeVar

MAX_TEXTS: Final = 1_024
MAX_TEXT_LENGTH: Final = 256
"""Of the key: bytes or characters. A topic has no more at the service, without the prefix of basic ingest."""

KeyT = TypeVar("KeyT", bound=Sized)
ValueT = TypeVar("ValueT")


class KnownTexts(Generic[KeyT, ValueT]):
    """At most `MAX_TEXTS` values by text. May be used from several threads."""

    __slots__ = ("_values", "get")

    def __init__(self) -> None:
        self._values: dict[KeyT, ValueT] = {}
        self.get: Final = self._values.get
        """Return the value of a text; None if it is not known."""

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, text: KeyT, value: ValueT) -> None:
        """Remember that a text is good, and what it stands for."""
        if len(text) <= MAX_TEXT_LENGTH:
            if len(self._values) >= MAX_TEXTS:
                self._values.clear()
            self._values[text] = value
