"""Whose turn it is: what waits, taken from each source in turn, however much one of them has put in.

Calls of an authorizer's function wait here. A stranger makes the function run by a CONNECT or a request, so a peer with
many connections must not push the calls of others behind its own. Those for connected clients (a refresh) come first:
they were let in, and would be ended for a call that came too late.

Never here: time limits, and anything about what is queued.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Items by source; `None` is the source that comes before all others."""

    __slots__ = ("_items", "_size")

    def __init__(self) -> None:
        self._items: dict[str | None, dict[int, Item]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def sources(self) -> Iterator[str]:
        """All sources that wait, but the first."""
        return (source for source in self._items if source is not None)

    def put(self, source: str | None, key: int, item: Item) -> None:
        """Put an item behind the others of its source."""
        self._items.setdefault(source, {})[key] = item
        self._size += 1

    def take(self, full: frozenset[str]) -> Item | None:
        """Take the next item: of the first source, else of the one whose turn it is; none of a source that is full."""
        for source in (None, *self._items):
            items = self._items.get(source)
            if not items or (source is not None and source in full):
                continue
            item = items.pop(next(iter(items)))
            del self._items[source]
            if items:
                self._items[source] = items  # at the end: all others come before it has another turn
            self._size -= 1
            return item
        return None

    def remove(self, source: str | None, key: int) -> bool:
        """Take one item out; False if it is not there."""
        items = self._items.get(source)
        if items is None or items.pop(key, None) is None:
            return False
        if not items:
            del self._items[source]
        self._size -= 1
        return True

    def clear(self) -> list[Item]:
        """Take out everything."""
        everything = [item for items in self._items.values() for item in items.values()]
        self._items.clear()
        self._size = 0
        return everything
