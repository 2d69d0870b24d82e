"""Failing inputs, kept as files of three lines that a person can read and `--replay` can run again."""

from __future__ import annotations

import hashlib
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_OWN = ("bench/fuzz/hunt.py", "bench/fuzz/target.py")


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that broke a promise.

    where: file, line and exception: what makes two findings the same one.
    """

    target: str
    data: bytes
    where: str
    problem: str

    def save(self, directory: Path) -> Path:
        """Write the file and return its path."""
        directory.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(self.data).hexdigest()[:12]
        path = directory / f"{self.target}-{digest}.txt"
        problem = self.problem.replace("\n", " ")[:500]
        path.write_text(f"{self.target}\n{self.data.hex()}\n# {self.where}: {problem}\n", encoding="utf-8")
        return path


def read_finding(path: Path) -> tuple[str, bytes]:
    """Return target and input of a file that `Finding.save` wrote."""
    name, data, *_ = path.read_text(encoding="utf-8").splitlines()
    return name, bytes.fromhex(data)


def place_of(error: BaseException) -> str:
    """Name an exception by its type and the line that raised it."""
    frames = traceback.extract_tb(_innermost(error))
    outer = [frame for frame in frames if not frame.filename.endswith(_OWN)] or frames
    last = outer[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


def _innermost(error: BaseException) -> TracebackType | None:
    return error.__traceback__
