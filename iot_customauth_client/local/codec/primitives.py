"""Numbers, strings and binary data on the wire (MQTT 5, section 1.5; 3.1.1 has a part of them).

A reader takes the bytes, where to begin, where the packet ends, and what it reads (for the sentence of a refusal). It
returns the value and where the next field begins. It never looks beyond the packet's end and never copies more than
the value itself: the bytes around it may be a burst of many packets.
A writer returns the bytes and raises `ValueError` for what has no form on the wire.
"""

import struct
from typing import Final

from .properties import LARGEST_VARIABLE_BYTE_INTEGER
from .violations import INTEGER_IS_SHORTEST, UTF8_HAS_NO_NULL, UTF8_IS_WELL_FORMED, Violation, malformed

LARGEST_STRING_BYTES: Final = 0xFFFF

_UINT16: Final = struct.Struct(">H")
_UINT32: Final = struct.Struct(">I")
_SHORT: Final = 256
_LENGTHS: Final = tuple(_UINT16.pack(size) for size in range(_SHORT))
_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(256))


def cut_off(what: str) -> Violation:
    """A field that the packet's length leaves no room for."""
    return malformed(f"it ends before its {what} does")


def read_byte(data: bytes, offset: int, end: int, what: str) -> tuple[int, int]:
    """An unsigned integer of one byte."""
    if offset >= end:
        raise cut_off(what)
    return data[offset], offset + 1


def read_uint16(data: bytes, offset: int, end: int, what: str) -> tuple[int, int]:
    """A two byte integer."""
    after = offset + 2
    if after > end:
        raise cut_off(what)
    return data[offset] << 8 | data[offset + 1], after


def read_uint32(data: bytes, offset: int, end: int, what: str) -> tuple[int, int]:
    """A four byte integer."""
    after = offset + 4
    if after > end:
        raise cut_off(what)
    return int.from_bytes(data[offset:after], "big"), after


def scan_variable_byte_integer(data: bytes, offset: int, end: int, what: str) -> tuple[int, int] | None:
    """A variable byte integer, or `None` if it has no last byte before `end`.

    Raises:
        Violation: it has more than four bytes, or more than its value needs.
    """
    value = 0
    for index in range(4):
        if offset + index >= end:
            return None
        byte = data[offset + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            # MQTT-1.5.5-1: a last byte of zero adds nothing. 3.1.1 does not say so for the remaining length,
            # but no encoder of that version writes it either (section 2.2.3).
            if byte == 0 and index > 0:
                raise malformed(f"its {what} is written with more bytes than it needs", INTEGER_IS_SHORTEST)
            return value, offset + index + 1
    raise malformed(f"its {what} goes on after four bytes, which is the longest there is")


def read_variable_byte_integer(data: bytes, offset: int, end: int, what: str) -> tuple[int, int]:
    """A variable byte integer that must be complete."""
    found = scan_variable_byte_integer(data, offset, end, what)
    if found is None:
        raise cut_off(what)
    return found


def read_binary(data: bytes, offset: int, end: int, what: str) -> tuple[bytes, int]:
    """Binary data with its length before it: 0 to 65,535 bytes."""
    begin = offset + 2
    if begin > end:
        raise cut_off(what)
    after = begin + (data[offset] << 8 | data[offset + 1])
    if after > end:
        raise cut_off(what)
    return data[begin:after], after


def read_string(data: bytes, offset: int, end: int, what: str) -> tuple[str, int]:
    """A UTF-8 encoded string with its length before it: 0 to 65,535 bytes."""
    raw, after = read_binary(data, offset, end, what)
    try:
        text = raw.decode("utf-8")  # strict: refuses over-long forms and surrogates too
    except UnicodeDecodeError:
        text = None
    # Raised out here so that the refusal does not hold on to the decoder's error, which holds the bytes.
    if text is None:
        raise malformed(f"its {what} is not well-formed UTF-8", UTF8_IS_WELL_FORMED)
    if "\0" in text:
        raise malformed(f"its {what} contains the character U+0000", UTF8_HAS_NO_NULL)
    return text, after


def write_byte(value: int) -> bytes:
    """An unsigned integer of one byte."""
    return _ONE_BYTE[value]


def write_uint16(value: int) -> bytes:
    """A two byte integer."""
    return _UINT16.pack(value)


def write_uint32(value: int) -> bytes:
    """A four byte integer."""
    return _UINT32.pack(value)


def write_variable_byte_integer(value: int) -> bytes:
    """The shortest form of a number from 0 to 268,435,455."""
    if value < 0x80:
        return _ONE_BYTE[value]
    if value > LARGEST_VARIABLE_BYTE_INTEGER:
        raise ValueError(
            f"{value} is more than a variable byte integer holds ({LARGEST_VARIABLE_BYTE_INTEGER}); send less at once"
        )
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def write_binary(value: bytes, what: str) -> bytes:
    """Binary data with its length before it."""
    if len(value) > LARGEST_STRING_BYTES:
        raise ValueError(f"the {what} has {len(value)} bytes; MQTT allows {LARGEST_STRING_BYTES}")
    return _UINT16.pack(len(value)) + value


def write_string(text: str, what: str) -> bytes:
    """A UTF-8 encoded string with its length before it."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = None
    if raw is None:
        raise ValueError(f"the {what} contains a surrogate, which UTF-8 cannot express")
    if "\0" in text:
        raise ValueError(f"the {what} contains the character U+0000, which MQTT forbids")
    size = len(raw)
    return _LENGTHS[size] + raw if size < _SHORT else write_binary(raw, what)
