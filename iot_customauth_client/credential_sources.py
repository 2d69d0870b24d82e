"""Where credentials come from, ready made: a file that is watched, what a command prints, the environment.

Each gives a function for `SharedCredentials`. All read the same keys, those of the table `[credentials]`: the fields of
`Credentials`, `*_file` for values in files of their own, `jwt` in place of token and signature, and
`expires_in_seconds`. Nothing here may put what it read into an error.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .credentials import Credentials
from .errors import ConfigurationError, CredentialsRejected, CredentialsUnavailable
from .files import read_secrets, read_table

if TYPE_CHECKING:
    from .shared_credentials import SharedCredentials

CredentialsT = TypeVar("CredentialsT", bound=Credentials)

SECRET_FILES: Final = ("username", "password", "token", "signature", "jwt")
"""The keys whose value may stand in a file of its own, named by `KEY_file`."""
MAX_OUTPUT_BYTES: Final = 65_536
REJECTED_STATUS: Final = 77
"""The status by which a command says that there will be no credentials any more (EX_NOPERM of sysexits.h)."""


def credentials_of(kind: type[CredentialsT], table: Mapping[str, Any], directory: Path) -> CredentialsT:
    """Return the credentials of a table; paths in it are relative to `directory`. Raises `ConfigurationError`."""
    values = read_secrets(table, directory, SECRET_FILES)
    lasts = values.pop("expires_in_seconds", None)
    if lasts is not None and (isinstance(lasts, bool) or not isinstance(lasts, int | float) or lasts <= 0):
        raise ConfigurationError("expires_in_seconds must be a number above 0", code="credentials_invalid")
    jwt = values.pop("jwt", None)
    if jwt is not None:
        for name in ("token", "signature"):
            if name in values:
                raise ConfigurationError(f"give jwt or {name}, not both", code="credentials_invalid")
        return kind.from_jwt(jwt, **values, expires_in_seconds=lasts)
    return kind.of_fields(values, expires_in_seconds=lasts)


# -- a file ------------------------------------------------------------------------------------------------------------


def watch(
    make: type[SharedCredentials], file: str | Path, poll_seconds: float, limits: Mapping[str, float]
) -> SharedCredentials:
    """Return credentials of a file, with a thread that tells of its changes for as long as anybody uses them."""
    if poll_seconds <= 0:
        raise ConfigurationError("poll_seconds must be above 0")
    watched = _WatchedFile(Path(file))
    shared = make(watched.fetch, **limits)
    stop = threading.Event()
    weakref.finalize(shared, stop.set).atexit = False
    thread = threading.Thread(
        target=_look,
        args=(watched, weakref.ref(shared), stop, poll_seconds),
        name="iot-customauth-file-watch",
        daemon=True,
    )
    thread.start()
    return shared


class _WatchedFile:
    """A file with credentials, and the files that it names."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._parts: tuple[Path, ...] = (file,)
        self._seen: tuple[object, ...] | None = None

    def fetch(self) -> Credentials:
        with self._lock:
            self._seen = self._marks()
            first = _mark(self._file)  # before it is read: what is put in its place meanwhile must count as a change
            table = read_table(self._file, "credentials")
            directory = self._file.parent
            named = [table[f"{name}_file"] for name in SECRET_FILES if isinstance(table.get(f"{name}_file"), str)]
            self._parts = (self._file, *(directory / Path(os.path.expandvars(name)) for name in named))
            self._seen = (first, *(_mark(part) for part in self._parts[1:]))
            return credentials_of(Credentials, table, directory)

    def changed(self) -> bool:
        """Tell whether anything is different from what was read, once; `False` before the first reading."""
        with self._lock:
            marks = self._marks()
            if self._seen is None or marks == self._seen:
                return False
            self._seen = marks
            return True

    def _marks(self) -> tuple[object, ...]:
        return tuple(_mark(part) for part in self._parts)


def _mark(file: Path) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):  # between two versions there may be none
        status = file.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size
    return None


def _look(
    watched: _WatchedFile, shared: weakref.ref[SharedCredentials], stop: threading.Event, poll_seconds: float
) -> None:
    while not stop.wait(poll_seconds):
        if watched.changed():
            alive = shared()
            if alive is None:
                return
            alive.renew()
            del alive


# -- a command ---------------------------------------------------------------------------------------------------------


def command_output(command: Sequence[str], timeout_seconds: float) -> Callable[[], Credentials]:
    """Return a function that runs the command and reads the JSON object that it prints."""
    if isinstance(command, str) or not command or not all(isinstance(part, str) for part in command):
        raise ConfigurationError('the command must be a list of texts, such as ["get-token", "--device", "d1"]')
    words = list(command)

    def fetch() -> Credentials:
        return credentials_of(Credentials, _object_of(_run(words, timeout_seconds), words[0]), Path())

    return fetch


def _run(words: list[str], timeout_seconds: float) -> bytes:
    name = words[0]
    try:
        # A process group of its own, so that what it started ends with it. Its error output goes where ours goes.
        process = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise CredentialsUnavailable(f"cannot run {name!r}: {error.strerror}", phase="credentials") from None
    # Worker threads do not outlive the interpreter, and would leave it running.
    at_exit = atexit.register(partial(_kill, process))
    timer = threading.Timer(timeout_seconds, _kill, (process,))
    timer.daemon = True
    timer.start()
    try:
        with process:
            stdout = process.stdout
            output = b"" if stdout is None else stdout.read(MAX_OUTPUT_BYTES + 1)
            if len(output) > MAX_OUTPUT_BYTES:
                _kill(process)
    finally:
        timed_out = not timer.is_alive() and process.returncode == -signal.SIGKILL
        timer.cancel()
        atexit.unregister(at_exit)
    if len(output) > MAX_OUTPUT_BYTES:
        raise CredentialsUnavailable(f"{name!r} printed more than {MAX_OUTPUT_BYTES} bytes", phase="credentials")
    if timed_out:
        raise CredentialsUnavailable(
            f"{name!r} took more than {timeout_seconds:g} s and was ended",
            code="credentials_timeout",
            phase="credentials",
        )
    if process.returncode == REJECTED_STATUS:
        raise CredentialsRejected(f"{name!r} says that there are no credentials any more", phase="credentials")
    if process.returncode:
        raise CredentialsUnavailable(
            f"{name!r} ended with status {process.returncode}",
            phase="credentials",
            what_to_do="run it by hand; its error output went to the error output of this process",
        )
    return output


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _object_of(output: bytes, name: str) -> dict[str, Any]:
    found: object = None
    with contextlib.suppress(ValueError):  # which would hold the output
        found = json.loads(output)
    if not isinstance(found, dict):
        raise CredentialsUnavailable(f"{name!r} did not print a JSON object", phase="credentials")
    return found


# -- the environment ---------------------------------------------------------------------------------------------------


def environment(prefix: str) -> Callable[[], Credentials]:
    """Return a function that reads the variables with this prefix."""
    if not prefix:
        raise ConfigurationError("the prefix of the environment variables must not be empty")

    def fetch() -> Credentials:
        begins = prefix.upper()
        found: dict[str, Any] = {
            name.upper().removeprefix(begins).lower(): value
            for name, value in os.environ.items()
            if name.upper().startswith(begins)
        }
        if not found:
            raise CredentialsUnavailable(f"there is no environment variable {prefix}...", phase="credentials")
        if "expires_in_seconds" in found:
            try:
                found["expires_in_seconds"] = float(found["expires_in_seconds"])
            except ValueError:
                raise ConfigurationError(f"{prefix}EXPIRES_IN_SECONDS must be a number") from None
        return credentials_of(Credentials, found, Path())

    return fetch
