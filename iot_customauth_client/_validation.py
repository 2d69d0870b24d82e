"""pydantic's validation error, told in our words and without the values that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import ValidationError


def refuse(error: ValidationError, *, code: str) -> ConfigurationError:
    """Return a `ConfigurationError` that lists every problem; raise it outside `except`: the cause shows values."""
    problems: list[str] = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        joint = " " if item["type"] == "value_error" else ": "
        problems.append(f"{field}{joint}{message}" if field else message)
    return ConfigurationError("; ".join(problems), code=code, phase="configuration")
