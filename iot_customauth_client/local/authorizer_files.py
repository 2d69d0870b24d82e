"""An authorizer function that lives in a Python file, read again whenever the file changes.

The file is compiled from its source at each change, under a private module name, so that no byte-code cache with a
time stamp of whole seconds can hide an edit and two authorizers may have files of one name. While it is loaded its
directory is importable, as in Lambda; modules imported from that directory belong to the function: a change of one of
them reloads all.

A file that cannot be loaded refuses connections and nothing else: `FileFunction.get` raises `FunctionUnavailable`, and
tries again after the next change.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeAlias

from .authorizer_targets import AuthorizerFunction, PythonFile
from .authorizers import LocalAuthorizer
from .command import Command, CommandCall
from .invoke_url import InvokeUrl, UrlCall

_Stamps: TypeAlias = dict[Path, tuple[int, int] | None]

_serial = itertools.count(1)
_bytecode_lock = threading.Lock()
_files_loading = 0
_WROTE_NO_BYTECODE = sys.dont_write_bytecode


class FunctionUnavailable(Exception):
    """There is no function to call; `str()` says why in one sentence, `details` is the traceback if there is one."""

    def __init__(self, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.details = details


class FunctionSource(Protocol):
    """Where the function of an authorizer comes from."""

    def get(self, *, timeout: float) -> AuthorizerFunction:
        """Return the function as it is now; raises `FunctionUnavailable`."""
        ...

    def close(self) -> None:
        """Forget what was loaded."""
        ...


class CallableSource:
    """A function that was given as an object."""

    def __init__(self, function: AuthorizerFunction) -> None:
        self._function = function

    def get(self, *, timeout: float) -> AuthorizerFunction:
        """Return the function."""
        del timeout
        return self._function

    def close(self) -> None:
        """Do nothing: the function is its owner's."""


class FileFunction:
    """A function of a Python file. `get` may be called from several threads."""

    def __init__(self, path: Path, function_name: str) -> None:
        self._path = path.absolute()
        self._function_name = function_name
        self._module_name = f"_iot_customauth_authorizer_{next(_serial)}"
        self._siblings: tuple[str, ...] = ()
        self._stamps: _Stamps = {}
        self._outcome: AuthorizerFunction | FunctionUnavailable | None = None
        self._loading = threading.Lock()

    def get(self, *, timeout: float) -> AuthorizerFunction:
        """Return the function, after loading the file if it is new or changed.

        Waits at most `timeout` seconds for another thread that is loading a file just now.
        """
        if self._outcome is None or self._changed():
            if not self._loading.acquire(timeout=max(0.0, timeout)):
                raise FunctionUnavailable(
                    f"{self._path.name} is still being imported: does it wait for something at its top level?"
                )
            try:
                if self._outcome is None or self._changed():
                    self._outcome = self._load()
            finally:
                self._loading.release()
        outcome = self._outcome
        if isinstance(outcome, FunctionUnavailable):
            raise FunctionUnavailable(str(outcome), outcome.details)
        return outcome

    def close(self) -> None:
        """Drop the loaded modules."""
        self._forget()
        self._outcome = None

    def _changed(self) -> bool:
        return any(_stamp(path) != stamp for path, stamp in self._stamps.items())

    def _load(self) -> AuthorizerFunction | FunctionUnavailable:
        self._forget()
        self._stamps = {self._path: _stamp(self._path)}  # before reading: an edit meanwhile is seen the next time
        try:
            source = self._path.read_bytes()
        except OSError as error:
            return FunctionUnavailable(f"{self._path.name} cannot be read: {error.strerror}")
        module = ModuleType(self._module_name)
        module.__file__ = str(self._path)
        sys.modules[self._module_name] = module
        before = set(sys.modules)
        try:
            with _importable(self._path.parent):
                code = compile(source, str(self._path), "exec", dont_inherit=True)
                exec(code, module.__dict__)  # noqa: S102  # running the user's own file is the purpose
        except BaseException as error:  # noqa: BLE001  # also SystemExit: a file that leaves is a file that fails
            reason = traceback.format_exception_only(error)[-1].strip()
            details = "".join(traceback.format_exception(error))
            return FunctionUnavailable(f"{self._path.name} fails to import: {reason}", details)
        finally:
            self._adopt_siblings(set(sys.modules) - before)
        function: AuthorizerFunction | None = getattr(module, self._function_name, None)
        if not callable(function):
            return FunctionUnavailable(
                f"{self._path.name} has no function `{self._function_name}`:"
                " name another one with FILE.py:function_name"
            )
        return function

    def _adopt_siblings(self, names: set[str]) -> None:
        """Remember the modules that came from the file's own directory, and their stamps."""
        mine: list[str] = []
        for name in names:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str) and Path(file).is_relative_to(self._path.parent):
                if "site-packages" in Path(file).relative_to(self._path.parent).parts:
                    continue  # a virtual environment inside the directory is not the user's own code
                mine.append(name)
                self._stamps[Path(file)] = _stamp(Path(file))
        self._siblings = tuple(mine)

    def _forget(self) -> None:
        for name in (self._module_name, *self._siblings):
            sys.modules.pop(name, None)
        self._siblings = ()


class OutsideFunction:
    """A function that is a URL or a command: nothing is loaded, each call is made anew."""

    def __init__(self, target: InvokeUrl | Command) -> None:
        self._target = target

    def get(self, *, timeout: float) -> AuthorizerFunction:
        """Return a call that can be made once. A command that is not there is unavailable; a URL is simply tried."""
        del timeout
        if isinstance(self._target, InvokeUrl):
            return UrlCall(self._target)
        if (problem := self._target.problem()) is not None:
            raise FunctionUnavailable(f"the command cannot be started: {problem}")
        return CommandCall(self._target)

    def close(self) -> None:
        """Do nothing: nothing is kept."""


def function_source(authorizer: LocalAuthorizer) -> FunctionSource:
    """Return where the function of `authorizer` comes from; its file is not read yet."""
    match authorizer.target:
        case PythonFile() as file:
            return FileFunction(file.path, file.name)
        case InvokeUrl() | Command() as target:
            return OutsideFunction(target)
        case function:
            return CallableSource(function)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


@contextlib.contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """Put `directory` first on the import path, and let no byte code be written into it.

    Both belong to the whole process and several files may be loading at once: hence the count.
    """
    global _files_loading
    entry = str(directory)
    with _bytecode_lock:
        _files_loading += 1
        sys.path.insert(0, entry)
        importlib.invalidate_caches()  # a module written a moment ago must be found
        sys.dont_write_bytecode = True
    try:
        yield
    finally:
        with _bytecode_lock, contextlib.suppress(ValueError):
            _files_loading -= 1
            if not _files_loading:
                sys.dont_write_bytecode = _WROTE_NO_BYTECODE
            sys.path.remove(entry)
