"""The further query parts of credentials, as a value: a mapping that cannot change and does not show its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .carriage import redact_text, shown_name


class Parameters(Mapping[str, str]):
    """Further query parts, in order: a mapping that cannot change and does not show its values."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, name: str) -> str:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))  # equal mappings are equal in any order

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{shown_name(*item)}: {redact_text(item[1])}" for item in self._items.items()) + "}"
