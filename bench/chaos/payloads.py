"""A message of the run: its number, filled up to the size that sensors send."""

from __future__ import annotations

from typing import Final

SIZE: Final = 128


def payload_of(number: int) -> bytes:
    """Return the message with a number."""
    return f"{number}:".encode().ljust(SIZE, b".")


def number_of(payload: bytes) -> int:
    """Return the number of a message."""
    return int(payload.partition(b":")[0])
