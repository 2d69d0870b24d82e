"""A service client that is rebuilt whenever the native object is replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class ServiceHandle(Generic[T]):
    """Holds what `factory(native)` made of the live native object."""

    def __init__(self, factory: Callable[[Any], T], native: Any) -> None:
        self._factory = factory
        self._current: T | None = None
        if native is not None:
            self.rebuild(native)

    @property
    def current(self) -> T | None:
        """The client for the native object of now; `None` before the first attempt."""
        return self._current

    def rebuild(self, native: Any) -> None:
        """Make it anew."""
        self._current = self._factory(native)
