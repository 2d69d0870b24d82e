"""What an authorizer calls: a Python function, one in a file, a Lambda Invoke URL, or a command.

The four forms in which it is given are told apart here, once, and checked as far as they can be without reading a file
or opening a connection. Who runs which of them is in `authorizer_files.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..errors import ConfigurationError
from .command import Command
from .invoke_url import INVOKE_URL_FORM, InvokeUrl, is_url

AuthorizerFunction: TypeAlias = Callable[..., object]
"""`function(event, context) -> result`, as AWS Lambda calls it: `event` a dict, `result` what `json.dumps` takes."""

DEFAULT_FUNCTION_NAME = "lambda_handler"
"""The function that is called in a file when none is named: AWS's own default."""


@dataclass(frozen=True, slots=True)
class PythonFile:
    """A function of a Python file."""

    path: Path
    name: str

    @property
    def function_name(self) -> str:
        """The file's name, without its ending."""
        return self.path.stem


Target: TypeAlias = AuthorizerFunction | PythonFile | InvokeUrl | Command


def read_target(given: AuthorizerFunction | str | Path | Sequence[str], *, working_directory: Path | None) -> Target:
    """Tell what is meant: a callable, `FILE.py[:function]`, an Invoke URL, or the list of strings of a command.

    Raises `ConfigurationError` when it is none of them.
    """
    if isinstance(given, Path):
        return PythonFile(*split_function(given))
    if isinstance(given, str):
        return InvokeUrl.parse(given) if is_url(given) else PythonFile(*split_function(given))
    if callable(given):
        return given
    return Command.of(given, working_directory)


def split_function(text: str | Path) -> tuple[Path, str]:
    """Split `FILE.py[:function]` into the file and the function's name.

    Raises `ConfigurationError` when it is neither.
    """
    written = str(text)
    path, colon, name = written.rpartition(":")
    if written.endswith(".py"):
        return Path(written), DEFAULT_FUNCTION_NAME
    if not colon or not path.endswith(".py") or not name.isidentifier():
        shown = "(not shown: an @ may follow a password)" if "@" in written else repr(written)
        raise ConfigurationError(
            f"authorizer function {shown}: write FILE.py or FILE.py:function_name, or a URL such as {INVOKE_URL_FORM}"
        )
    return Path(path), name
