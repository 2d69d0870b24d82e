"""The live awscrt object of one connection, and the service clients that were made on it.

Holds handles weakly: who keeps one has it rebuilt, who lets go of it costs nothing.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from .service_handle import ServiceHandle

ServiceT = TypeVar("ServiceT")


class NativeObject:
    """All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Any = None
        self._handles: list[weakref.ref[ServiceHandle[Any]]] = []

    @property
    def current(self) -> Any:
        """The awscrt object of now, or `None` before the first attempt."""
        return self._current

    def replace(self, native: Any) -> None:
        """Have every handle rebuilt for another object."""
        with self._lock:
            self._current = native
            handles = [handle for each in self._handles if (handle := each()) is not None]
        for handle in handles:
            handle.rebuild(native)

    def service(self, factory: Callable[[Any], ServiceT]) -> ServiceHandle[ServiceT]:
        """Return a handle on what `factory` makes of the object, now and whenever that is replaced."""
        native = self._current
        handle = ServiceHandle(factory, native)
        with self._lock:
            self._handles = [each for each in self._handles if each() is not None]
            self._handles.append(weakref.ref(handle))
            replaced = self._current
        if replaced is not native:  # while the factory ran
            handle.rebuild(replaced)
        return handle
