"""The proof of the rows: a behaviour is taken out of a copy of the package, and a test of its row has to fail.

Each worker has one copy of package and tests, in which one file is changed at a time and put back. A row's tests run in
a process forked from this one, which has loaded pytest and the libraries but not the package: so a row costs little
more than its tests. First everything runs unchanged, for a test that fails anyway proves nothing.

What counts as proof: a test that fails in its body, or one that hangs until its time is over. What does not: a test
that cannot be collected or whose fixtures fail, for then the change broke more than the behaviour.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .rows import PACKAGE, ROOT, Change, Row, misplaced_changes

TEST_SECONDS: Final = 30
"""After which a test counts as hanging."""
RUN_SECONDS: Final = 120
"""After which a row's run is killed; that counts as hanging too."""
UNCHANGED_SECONDS: Final = 600
"""After which a run of a whole file with nothing taken out is killed; its tests prove nothing then."""

_COPIED: Final = (PACKAGE, "tests", "examples", "docs", "bench", "scripts", "pyproject.toml", "README.md")
_PRELOADED: Final = ("pytest", "hypothesis", "pydantic", "cryptography.x509", "h11", "wsproto", "trustme", "asyncio")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of tests ended with. `failed`: node ids that failed in the test itself."""

    exit_code: int
    failed: tuple[str, ...]
    passed: tuple[str, ...]
    output: str
    seconds: float
    hung: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a row is proved, and by what; or why not."""

    row: Row
    proved: bool
    reason: str
    seconds: float


@dataclass(slots=True)
class _Job:
    """A run: which change, which tests, and who is told."""

    nodes: Sequence[str]
    change: Change | None
    done: Callable[[Outcome], None]


@dataclass(slots=True)
class _Worker:
    """A copy of package and tests, and what runs there."""

    directory: Path
    job: _Job | None = None
    pid: int = 0
    began: float = 0.0
    _original: bytes = field(default=b"", repr=False)

    def start(self, job: _Job) -> None:
        self.job, self.began = job, time.monotonic()
        if job.change is not None:
            self._original = self._file(job.change).read_bytes()
            self._write(job.change, self._original.replace(job.change.find.encode(), job.change.replace.encode(), 1))
        report, output = self.directory / "report.json", self.directory / "output.txt"
        report.unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run_and_exit(self.directory, job.nodes, report, output)

    def poll(self) -> Outcome | None:
        """Return the outcome if the run is over; end it if it takes too long."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        hung = False
        if pid == 0:
            unchanged = self.job is None or self.job.change is None
            if time.monotonic() - self.began < (UNCHANGED_SECONDS if unchanged else RUN_SECONDS):
                return None
            self.stop()
            status, hung = 1 << 8, True
        job, self.job, self.pid = self.job, None, 0
        if job is not None and job.change is not None:
            self._write(job.change, self._original)
        return self._outcome(status, hung)

    def stop(self) -> None:
        """Kill what runs, with all that it started."""
        if self.pid:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _outcome(self, status: int, hung: bool) -> Outcome:
        report, output = self.directory / "report.json", self.directory / "output.txt"
        told = json.loads(report.read_text()) if report.exists() else {"failed": [], "passed": []}
        return Outcome(
            os.waitstatus_to_exitcode(status),
            tuple(told["failed"]),
            tuple(told["passed"]),
            output.read_text(errors="replace"),
            time.monotonic() - self.began,
            hung,
        )

    def _file(self, change: Change) -> Path:
        return self.directory / PACKAGE / change.file

    def _write(self, change: Change, text: bytes) -> None:
        """Replace a file; its compiled form goes too, for it is found again by second and size only."""
        path = self._file(change)
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        path.write_bytes(text)


class _Recorder:
    """A pytest plugin that writes down which tests passed and which failed in their body."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.passed: list[str] = []

    def pytest_runtest_logreport(self, report: object) -> None:
        if getattr(report, "when", "") != "call":
            return
        node = str(getattr(report, "nodeid", ""))
        (self.failed if getattr(report, "failed", False) else self.passed).append(node)


def prove(rows: Iterable[Row], *, jobs: int, tell: Callable[[Verdict], None]) -> list[Verdict]:
    """Prove rows, which must name tests; `tell` is given each verdict as soon as it is known."""
    verdicts: list[Verdict] = []
    usable: list[Row] = []
    for row in rows:
        misplaced = misplaced_changes([row])
        if misplaced:
            verdicts.append(Verdict(row, False, misplaced[0].partition(": ")[2], 0.0))
            tell(verdicts[-1])
        elif row.taken_out is not None:
            usable.append(row)
    rows = usable
    for module in _PRELOADED:
        importlib.import_module(module)
    with _workers(min(jobs, max(len(rows), 1))) as workers:
        broken = _failing_anyway(rows, workers)

        def judge(row: Row) -> Callable[[Outcome], None]:
            def done(outcome: Outcome) -> None:
                verdicts.append(_judge(row, outcome, broken))
                tell(verdicts[-1])

            return done

        # Rows whose tests share files one after the other: what they read is in memory then.
        ordered = sorted(rows, key=lambda row: row.test_files)
        _run_all([_Job(row.tests, row.taken_out, judge(row)) for row in ordered], workers)
    return verdicts


def _judge(row: Row, outcome: Outcome, broken: dict[str, str]) -> Verdict:
    failing = [node for node in row.tests if node in broken]
    if failing:
        return Verdict(row, False, f"{failing[0]} {broken[failing[0]]} with nothing taken out", outcome.seconds)
    if outcome.hung:
        return Verdict(row, True, "hangs", outcome.seconds)
    if outcome.failed:
        return Verdict(row, True, outcome.failed[0].removeprefix("tests/"), outcome.seconds)
    if outcome.exit_code == 0:
        return Verdict(row, False, "its tests pass although it was taken out", outcome.seconds)
    return Verdict(row, False, f"no test failed in itself: {_last_words(outcome.output)}", outcome.seconds)


def _last_words(output: str) -> str:
    lines = [line for line in output.splitlines() if line.startswith(("E ", "ERROR", "FAILED"))]
    return (lines[-1] if lines else output[-200:]).strip()[:200]


def _failing_anyway(rows: Sequence[Row], workers: list[_Worker]) -> dict[str, str]:
    """Run all tests of the rows, each file at once, with nothing taken out; returns those that do not pass.

    What does not is run once more by itself: on a busy machine a test may fail for the sake of its neighbours.
    """
    broken = _failing_among((node for row in rows for node in row.tests), workers)
    return _failing_among(broken, workers) if broken else broken


def _failing_among(nodes: Iterable[str], workers: list[_Worker]) -> dict[str, str]:
    by_file: dict[str, dict[str, None]] = {}
    for node in nodes:
        by_file.setdefault(node.partition("::")[0], {})[node] = None
    broken: dict[str, str] = {}

    def judge(nodes: list[str]) -> Callable[[Outcome], None]:
        def done(outcome: Outcome) -> None:
            for node in nodes:
                passed, failed = (_is_among(node, each) for each in (outcome.passed, outcome.failed))
                if failed:
                    broken[node] = "fails"
                elif not passed:
                    broken[node] = "does not run"

        return done

    _run_all([_Job(list(nodes), None, judge(list(nodes))) for nodes in by_file.values()], workers, stop_early=False)
    return broken


def _is_among(node: str, found: Iterable[str]) -> bool:
    return any(each == f"tests/{node}" or each.startswith(f"tests/{node}[") for each in found)


def _run_all(jobs: list[_Job], workers: list[_Worker], *, stop_early: bool = True) -> None:
    waiting = list(reversed(jobs))
    while waiting or any(worker.job for worker in workers):
        for worker in workers:
            if worker.job is None and waiting:
                job = waiting.pop()
                os.environ["FIDELITY_STOP_EARLY"] = "1" if stop_early else ""
                worker.start(job)
            elif worker.job is not None:
                job = worker.job
                outcome = worker.poll()
                if outcome is not None:
                    job.done(outcome)
        time.sleep(0.01)


@contextmanager
def _workers(count: int) -> Iterator[list[_Worker]]:
    with tempfile.TemporaryDirectory(prefix="fidelity-") as directory:
        workers = [_Worker(Path(directory) / str(number)) for number in range(count)]
        for worker in workers:
            worker.directory.mkdir()
            for name in _COPIED:
                _copy(ROOT / name, worker.directory / name)
        try:
            yield workers
        finally:
            for worker in workers:
                worker.stop()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("node_modules", ".hypothesis"))
    elif source.exists():
        shutil.copy2(source, target)


def _run_and_exit(directory: Path, nodes: Sequence[str], report: Path, output: Path) -> None:
    """In the forked process: run the tests with the copy first on the path, write the report, and end."""
    code = 3
    try:
        os.setpgid(0, 0)
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(directory)
        os.environ["PYTHONPATH"] = str(directory)
        sys.path.insert(0, str(directory))
        code = _run(directory, nodes, report)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(directory: Path, nodes: Sequence[str], report: Path) -> int:
    import hypothesis
    import pytest

    # Whether a counterexample is small does not matter here, and finding a small one takes long. That the same ones are
    # tried each time does matter: a proof must not depend on luck.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("prove", phases=phases, database=None, derandomize=True)
    hypothesis.settings.load_profile("prove")
    package = importlib.import_module(PACKAGE)
    if not str(package.__file__).startswith(str(directory)):
        print(f"{package.__file__} is not the copy")
        return 3
    recorder = _Recorder()
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--timeout={TEST_SECONDS}", "--rootdir=."]
    if os.environ["FIDELITY_STOP_EARLY"]:
        options.append("-x")
    code = pytest.main([*options, *(f"tests/{node}" for node in nodes)], plugins=[recorder])
    report.write_text(json.dumps({"failed": recorder.failed, "passed": recorder.passed}))
    return int(code)
