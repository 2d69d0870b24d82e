"""Bytes that were good, made bad: what transmission errors, wrong length fields and ill will do to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

LARGEST: Final = 200_000
"""Bytes that a mutated input has at most: a little more than the largest packet that is taken."""

_INTERESTING = (0x00, 0x01, 0x02, 0x7F, 0x80, 0x81, 0xC0, 0xFE, 0xFF, 0x0A, 0x0D, 0x20, 0x22, 0x24, 0x2A, 0x2B, 0x2F)
_WORDS = (
    *(b"\xff\xff\xff\x7f", b"\x80\x80\x80\x00", b"\xff\xff\xff\xff", b"\xff\xff", b"\x80\x00", b"\x00\x00"),
    *(b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbf\xbe", b"\xf4\x90\x80\x80", b"\xc2\x85", b"\xe2\x80\xa8"),
    *(b"$share/g/", b"$aws/", b"#", b"+", b"/", b"%00", b"%2", b"?", b"&", b"=", b"${iot:ClientId}", b"${*}", b"*"),
    *(b"\r\n", b"\r\n\r\n", b"\n", b": ", b"HTTP/1.1", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n"),
)


def _flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _replace(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] = dice.choice(_INTERESTING) if dice.random() < 0.5 else dice.randrange(256)


def _insert(data: bytearray, dice: random.Random) -> None:
    data.insert(dice.randrange(len(data) + 1), dice.choice(_INTERESTING))


def _insert_word(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.choice(_WORDS)


def _delete(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    del data[at : at + 1 + dice.randrange(4)]


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[1 + dice.randrange(len(data)) :]


def _double(data: bytearray, dice: random.Random) -> None:
    begin = dice.randrange(len(data))
    piece = bytes(data[begin : begin + 1 + dice.randrange(32)])
    data[begin:begin] = piece * dice.choice((1, 1, 2, 8, 100))


def _swap(data: bytearray, dice: random.Random) -> None:
    one, other = dice.randrange(len(data)), dice.randrange(len(data))
    data[one], data[other] = data[other], data[one]


def _count(data: bytearray, dice: random.Random) -> None:
    """Change a number by a little: most often it is a length."""
    at = dice.randrange(len(data))
    data[at] = (data[at] + dice.choice((-3, -2, -1, 1, 2, 3, 16))) % 256


_WAYS: Final[Sequence[Callable[[bytearray, random.Random], None]]] = (
    *(_flip, _flip, _replace, _replace, _count, _count, _count, _insert, _insert_word),
    *(_delete, _cut, _double, _swap),
)


def mutate(data: bytes, dice: random.Random, *, others: Sequence[bytes] = ()) -> bytes:
    """Return the bytes with one to four things wrong; `others` are inputs of the same kind, to be spliced in."""
    body = bytearray(data) or bytearray(b"\0")
    for _ in range(1 + int(dice.random() ** 2 * 4)):
        if others and dice.random() < 0.08:
            other = dice.choice(others)
            begin = dice.randrange(len(other) + 1)
            at = dice.randrange(len(body) + 1)
            body[at : at + dice.randrange(64)] = other[begin : begin + dice.randrange(256)]
        else:
            dice.choice(_WAYS)(body, dice)
        if not body:
            body += b"\0"
    return bytes(body[:LARGEST])
