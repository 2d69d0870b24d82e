"""Small pieces of wording that several messages of the local endpoint share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from ..errors import ConfigurationError

LOCAL_EXTRA: Final = (
    'the local endpoint needs packages that are not installed: pip install "iot-customauth-client[local]"'
)
"""The message of the ImportError when the extra `local` is missing."""


def counted(number: int, noun: str) -> str:
    """`1 key`, `2 keys`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Iterable[str], *, none: str = "none") -> str:
    """The names in back-quotes, separated by commas, or `none` when there is no name."""
    return ", ".join(f"`{name}`" for name in names) or none


@contextmanager
def told_of(place: str) -> Iterator[None]:
    """Put the place before what is said of a value by those who do not know where it stands."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error.message}") from error
