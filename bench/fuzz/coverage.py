"""Which lines of the code under test an input reaches, by the interpreter's own means.

From Python 3.12 on by `sys.monitoring`, which is told of each line once and then leaves it alone; on 3.11 by
`sys.settrace`. Only files that a target names are watched. It tells new from known, and what share of all lines was
reached at all: inputs that never get past the first check would show there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import iot_customauth_client

_PACKAGE: Final = Path(iot_customauth_client.__file__).parent
Line = tuple[str, int]


class Coverage:
    """The lines of some files of the package, and those that were reached."""

    def __init__(self, files: Sequence[str]) -> None:
        self._paths = {str(_PACKAGE / name): name for name in files}
        self.reached: set[Line] = set()
        self._new = False

    @contextmanager
    def watching(self) -> Iterator[Callable[[], bool]]:
        """Watch inside a `with`; what it gives tells whether a new line was reached since it was asked last."""
        if sys.version_info >= (3, 12):
            yield from self._monitored()
        else:
            yield from self._traced()

    def _took_new(self) -> bool:
        new, self._new = self._new, False
        return new

    def _note(self, path: str, line: int) -> None:
        place = (self._paths[path], line)
        if place not in self.reached:
            self.reached.add(place)
            self._new = True

    def _traced(self) -> Iterator[Callable[[], bool]]:
        paths = self._paths

        def local(frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "line":
                self._note(frame.f_code.co_filename, frame.f_lineno)
            return local

        def called(frame: FrameType, _event: str, _argument: Any) -> Any:
            return local if frame.f_code.co_filename in paths else None

        before = sys.gettrace()
        sys.settrace(called)
        try:
            yield self._took_new
        finally:
            sys.settrace(before)

    def _monitored(self) -> Iterator[Callable[[], bool]]:
        monitoring = getattr(sys, "monitoring")  # noqa: B009 - the type checkers read this as Python 3.11
        paths = self._paths

        def line(code: CodeType, number: int) -> object:
            if code.co_filename in paths:
                self._note(code.co_filename, number)
            return monitoring.DISABLE

        tool = monitoring.COVERAGE_ID
        monitoring.use_tool_id(tool, "fuzz")
        monitoring.register_callback(tool, monitoring.events.LINE, line)
        monitoring.set_events(tool, monitoring.events.LINE)
        try:
            yield self._took_new
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)

    def missed(self) -> list[Line]:
        """Return the lines inside functions that were not reached, in their order."""
        lines: set[Line] = set()
        for path, name in self._paths.items():
            source = Path(path).read_text(encoding="utf-8")
            waiting: list[CodeType] = [compile(source, path, "exec")]
            while waiting:
                code = waiting.pop()
                inner = [each for each in code.co_consts if isinstance(each, CodeType)]
                waiting += inner
                if code.co_flags & 0x2:  # CO_NEWLOCALS: a function, not a module or a class
                    lines |= {(name, line) for _, _, line in code.co_lines() if line and line != code.co_firstlineno}
        self._known = len(lines)
        return sorted(lines - self.reached)

    def share(self) -> tuple[int, int]:
        """Return how many lines inside functions were reached, and how many there are."""
        missed = len(self.missed())
        return self._known - missed, self._known
