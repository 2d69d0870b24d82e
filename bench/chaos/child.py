"""A device's process, from outside: started, told, killed, and its memory looked at. Only ever touched by its pid."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .device import Task
from .reports import Report

ROOT = Path(__file__).resolve().parent.parent.parent


class Child:
    """One process. `on_report` is called for every line, on a thread of its own, in order."""

    def __init__(
        self, module: str, task: Task, on_report: Callable[[Report], None], errors: IO[bytes], *arguments: str
    ) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"bench.chaos.{module}", task.text(), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env=environment,
            start_new_session=True,  # Ctrl+C is for the controller, which ends its children itself
        )
        self._on_report = on_report
        self.done = threading.Event()
        self.memory: list[float] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def tell(self, command: str) -> None:
        """Give a command; whoever is gone does not hear it."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, ValueError):
            stdin.write(f"{command}\n".encode())
            stdin.flush()

    def kill(self) -> None:
        """Kill it with -9, and read what it had written."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def sample(self) -> None:
        """Note its resident memory, in MiB."""
        with contextlib.suppress(OSError, IndexError):
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
            self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    report = Report.read(line)
                except ValueError:
                    continue  # a kill has cut it off: it promises nothing
                if report.kind == "done":
                    self.done.set()
                self._on_report(report)
