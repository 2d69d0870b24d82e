"""A stream in pieces, as a peer or the network may cut it: what is read must not depend on that."""

from __future__ import annotations

from typing import Final

SHORT_BYTES: Final = 600
"""A stream below this may come byte by byte; a usual ClientHello has some 520."""


def cut_up(stream: bytes, cut: int, *, byte_by_byte: int, most: int) -> list[bytes]:
    """Cut a stream into pieces of `cut` bytes, at most `most` of them.

    cut: a byte of the input. Where it is a multiple of `byte_by_byte` a short stream comes in pieces of one byte.
    """
    alone = cut % byte_by_byte == 0 and len(stream) < SHORT_BYTES
    size = 1 if alone else max(cut, len(stream) // most + 1)
    return [stream[at : at + size] for at in range(0, len(stream), size)]
