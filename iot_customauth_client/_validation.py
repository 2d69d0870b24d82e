"""pydantic's validation error, told in our words and without the values that it holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import ValidationError

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def refuse(error: ValidationError, *, code: str) -> ConfigurationError:
    """Return a `ConfigurationError` that lists every problem; raise it outside `except`, away from the values."""
    problems: list[str] = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        joint = " " if item["type"] == "value_error" else ": "
        problems.append(f"{field}{joint}{message}" if field else message)
    return ConfigurationError("; ".join(problems), code=code, phase="configuration")


def text(value: object, what: str) -> str:
    """Return `value` if it is text that UTF-8 can carry; else raise `ConfigurationError`, which calls it `what`."""
    if not isinstance(value, str):
        raise ConfigurationError(f"the {what} must be a str, not {type(value).__name__}")
    if _SURROGATE.search(value):  # no try of encode(): its error would hold the value
        raise ConfigurationError(f"the {what} holds a lone surrogate, which UTF-8 cannot carry")
    return value
