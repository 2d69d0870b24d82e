"""An authorizer function that is a command: it reads the event as JSON from stdin and prints the result as JSON.

::

    started (a process group of its own) ──event──> stdin          stderr is the endpoint's own
        │                                           stdout ──to its end──> exit code 0 ──> the result
        └──── 5 s, too much output, endpoint stops ────> the whole group is killed

No shell is involved: the command is a list of strings. The process is always waited for, so that none stays behind as
a zombie; and it is only killed while it has not been waited for yet, so that its number is still its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from ..errors import ConfigurationError
from .outside_call import BACKSTOP_SECONDS, MAX_ANSWER_BYTES, FunctionFailed, OutsideCall, read_answer

if TYPE_CHECKING:
    from ..authorizer.event import AuthorizerEvent
    from .lambda_context import LambdaContext

_CHUNK_BYTES: Final = 64 * 1024
_FIRST_LOOK_SECONDS: Final = 0.000_5
_LAST_LOOK_SECONDS: Final = 0.05

Pipe = IO[bytes]


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, and the directory it runs in (`None`: the endpoint's own)."""

    arguments: tuple[str, ...]
    directory: Path | None = None

    @classmethod
    def of(cls, arguments: Sequence[str], directory: Path | None = None) -> Command:
        """Check the list. Raises `ConfigurationError` if it is none that could be run."""
        if isinstance(arguments, str | bytes) or not all(isinstance(each, str) for each in arguments):
            raise ConfigurationError(
                f'authorizer command: write a list of strings, such as ["node", "authorizer.js"], not {arguments!r}'
                " (no shell reads it)"
            )
        if not arguments or not arguments[0].strip():
            raise ConfigurationError("authorizer command: the list has no program in it")
        if any("\0" in each for each in arguments):
            raise ConfigurationError("authorizer command: a NUL cannot be part of an argument")
        return cls(tuple(arguments), directory)

    @property
    def function_name(self) -> str:
        """The program's name, without its directory."""
        return Path(self.arguments[0]).name

    def problem(self) -> str | None:
        """Say why the command could not be started now, as far as that shows from outside."""
        program = self.arguments[0]
        if self.directory is not None and not self.directory.is_dir():
            return f"its directory {self.directory} does not exist"
        if os.sep not in program:
            missing = shutil.which(program) is None
            return f"there is no program {program!r} on PATH: is it installed?" if missing else None
        path = (self.directory or Path()) / program
        try:
            found = path.is_file()
        except OSError as error:  # a directory that may not be read, a name that is too long
            return f"{path} cannot be read: {error.strerror}"
        if not found:
            return f"there is no program {path}"
        return None if os.access(path, os.X_OK) else f"{path} may not be executed: chmod +x"

    def __str__(self) -> str:
        return shlex.join(self.arguments)


class CommandCall(OutsideCall):
    """One run of a command."""

    def __init__(self, command: Command) -> None:
        self._command: Final = command
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._aborted = False

    def __call__(self, event: AuthorizerEvent, context: LambdaContext) -> object:
        """Run the command with the event."""
        deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 + BACKSTOP_SECONDS
        process = self._start()
        assert process.stdin is not None  # noqa: S101  # both were asked for
        assert process.stdout is not None  # noqa: S101
        try:
            printed = self._converse(process.stdin, process.stdout, json.dumps(event).encode() + b"\n", deadline)
            complete = printed is not None and len(printed) <= MAX_ANSWER_BYTES
            code = self._wait(process, deadline) if complete else None
        finally:
            self.abort()  # without effect on one that has ended
            with contextlib.suppress(OSError):  # a pipe that nobody reads any more
                process.stdin.close()
            process.stdout.close()
            self._wait(process, None)
        if printed is None or (complete and code is None):
            raise FunctionFailed("the command did not end in time and was killed")
        if code:
            raise FunctionFailed(_explain_end(code))
        return read_answer(
            printed,
            what="what the command printed",
            advice="its stdout must hold the result, as JSON, and nothing else; let it print all else to stderr",
        )

    def abort(self) -> None:
        """Kill the command and whatever it has started."""
        with self._lock:
            self._aborted = True
            process = self._process
            if process is not None and process.returncode is None:
                _kill_group(process)

    def _start(self) -> subprocess.Popen[bytes]:
        command = self._command
        with self._lock:
            if self._aborted:
                raise FunctionFailed("the command was not started: its time was over before")
            try:
                self._process = subprocess.Popen(  # noqa: S603  # running the user's own command is the purpose
                    command.arguments,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=command.directory,
                    start_new_session=True,
                )
            except OSError as error:
                raise FunctionFailed(
                    f"the command cannot be started: {command.problem() or error.strerror or error}"
                ) from error
            return self._process

    def _converse(self, stdin: Pipe, stdout: Pipe, event: bytes, deadline: float) -> bytes | None:
        """Write the event and read to the end of stdout, both as they go; `None` when the time is over.

        A command need not read its event. Of too much output no more is read than what shows that it is too much.
        """
        printed, rest = bytearray(), memoryview(event)
        with selectors.DefaultSelector() as selector:
            for pipe, interest in ((stdin, selectors.EVENT_WRITE), (stdout, selectors.EVENT_READ)):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, interest)
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.fileobj is stdout:
                        data = os.read(stdout.fileno(), _CHUNK_BYTES)
                        printed += data
                        if not data or len(printed) > MAX_ANSWER_BYTES:
                            return bytes(printed)
                        continue
                    try:
                        rest = rest[os.write(stdin.fileno(), rest) :]
                    except BrokenPipeError:
                        rest = rest[:0]
                    if not rest:
                        selector.unregister(stdin)
                        with contextlib.suppress(OSError):
                            stdin.close()
        return None

    def _wait(self, process: subprocess.Popen[bytes], deadline: float | None) -> int | None:
        """Return the exit code; `None` if the command still runs when the time is over."""
        look = _FIRST_LOOK_SECONDS
        while True:
            with self._lock:  # so that `abort` never meets a number that has been given away
                if _has_ended(process):
                    _kill_group(process)  # not reaped yet: the number is its own, and what it left behind has it too
                code = process.poll()
            if code is not None:
                return code
            if deadline is not None and time.monotonic() >= deadline:
                return None
            time.sleep(look)
            look = min(2 * look, _LAST_LOOK_SECONDS)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the command has ended and nobody has taken note of it yet."""
    if process.returncode is not None:
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return False


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _explain_end(code: int) -> str:
    if code > 0:
        return f"the command ended with exit code {code}; what it printed to stderr stands above"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the command was ended by {name}"
