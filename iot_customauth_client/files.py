"""Settings and secrets in files: one table of a TOML file, and values that stand in files of their own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import ConfigurationError

_SYSTEMD = "$CREDENTIALS_DIRECTORY/"


def read_document(file: Path) -> dict[str, Any]:
    """Return all tables of a TOML file.

    Raises `ConfigurationError` for a file that cannot be read, and for one that is not TOML.
    """
    import tomllib

    problem = None
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}", code="file_unreadable") from None
    except UnicodeDecodeError:
        problem = f"{file} is not UTF-8, as TOML must be"
    except tomllib.TOMLDecodeError as error:
        # TOMLDecodeError names line and column; it does not quote the line.
        problem = f"{file} is not TOML: {error}"
    except ValueError:  # Python's own limit, of 4,300 digits
        problem = f"{file} holds a number with thousands of digits, which nothing here can be set to"
    except RecursionError:
        problem = f"{file} holds lists or tables inside each other, too deep to be read"
    # Raised out here: these errors hold the text, secrets included.
    raise ConfigurationError(problem, code="file_invalid")


def read_table(file: Path, name: str, *, required: bool = True) -> dict[str, Any]:
    """Return the table `[name]` of a TOML file, or an empty one if it is not there and not required."""
    table = read_document(file).get(name)
    if table is None and not required:
        return {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{file} has no table [{name}]", code="file_invalid")
    return table


def read_secrets(table: Mapping[str, Any], directory: Path, names: Sequence[str]) -> dict[str, Any]:
    """Replace each key `NAME_file` by `NAME` with the content of the file, for the names given.

    Paths are relative to `directory`; one trailing newline is dropped; a password stays bytes, the rest is UTF-8.
    """
    values = dict(table)
    for name in names:
        path = values.pop(f"{name}_file", None)
        if path is None:
            continue
        if name in values:
            raise ConfigurationError(f"give {name} or {name}_file, not both", code="file_invalid")
        if not isinstance(path, str):
            raise ConfigurationError(f"{name}_file must be a path in quotes", code="file_invalid")
        values[name] = _read_secret(_resolve(path, directory, name), name)
    return values


def _resolve(path: str, directory: Path, name: str) -> Path:
    if not path.startswith(_SYSTEMD):
        return directory / Path(path)
    base = os.environ.get("CREDENTIALS_DIRECTORY")
    if not base:
        raise ConfigurationError(
            f"{name}_file is under $CREDENTIALS_DIRECTORY, which is not set: systemd sets it for a service with "
            "LoadCredential=",
            code="file_unreadable",
        )
    return Path(base) / path.removeprefix(_SYSTEMD)


def _read_secret(file: Path, name: str) -> str | bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {name}_file {file}: {error.strerror}", code="file_unreadable") from None
    content = content.removesuffix(b"\r\n" if content.endswith(b"\r\n") else b"\n")
    if name == "password":
        return content
    with contextlib.suppress(UnicodeDecodeError):  # which would hold the secret
        return content.decode()
    raise ConfigurationError(f"{name}_file {file} is not UTF-8", code="file_invalid")
