"""The block of properties inside an MQTT 5 packet (section 2.2.2): a length, then pairs of identifier and value.

One reader and one writer for each wire type; which property has which type is said by the table in `properties.py`.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Final, TypeAlias

from .packet_types import PacketType, Version
from .primitives import (
    cut_off,
    read_binary,
    read_byte,
    read_string,
    read_uint16,
    read_uint32,
    read_variable_byte_integer,
    write_binary,
    write_byte,
    write_string,
    write_uint16,
    write_uint32,
    write_variable_byte_integer,
)
from .properties import FORMS, NO_PROPERTIES, Properties, Property, PropertyForm, PropertyValue, WireType
from .violations import malformed, protocol_error

_Single: TypeAlias = int | str | bytes | tuple[str, str]


def _read_pair(data: bytes, offset: int, end: int, what: str) -> tuple[tuple[str, str], int]:
    name, offset = read_string(data, offset, end, what)
    value, offset = read_string(data, offset, end, what)
    return (name, value), offset


_READERS: Final[dict[WireType, Callable[[bytes, int, int, str], tuple[_Single, int]]]] = {
    WireType.BYTE: read_byte,
    WireType.TWO_BYTE_INTEGER: read_uint16,
    WireType.FOUR_BYTE_INTEGER: read_uint32,
    WireType.VARIABLE_BYTE_INTEGER: read_variable_byte_integer,
    WireType.UTF8_STRING: read_string,
    WireType.UTF8_STRING_PAIR: _read_pair,
    WireType.BINARY_DATA: read_binary,
}

_NUMBER_WRITERS: Final[dict[WireType, Callable[[int], bytes]]] = {
    WireType.BYTE: write_byte,
    WireType.TWO_BYTE_INTEGER: write_uint16,
    WireType.FOUR_BYTE_INTEGER: write_uint32,
    WireType.VARIABLE_BYTE_INTEGER: write_variable_byte_integer,
}

_PAIR: Final = Property.USER_PROPERTY.words

# Every identifier is below 128, so its variable byte integer is one byte.
_BY_IDENTIFIER: Final[dict[int, tuple[Property, PropertyForm, str]]] = {
    int(key): (key, form, key.words) for key, form in FORMS.items()
}


def read_properties(
    data: bytes, offset: int, end: int, version: Version, packet_type: PacketType
) -> tuple[Properties, int]:
    """The properties that begin at `offset`, and where the next field begins; 3.1.1 has none and no length of them.

    Whether they may stand in this packet, and with these values, is for `rules.py` to say.
    """
    if version is Version.MQTT311:
        return NO_PROPERTIES, offset
    length, offset = read_variable_byte_integer(data, offset, end, "property length")
    block_end = offset + length
    if block_end > end:
        raise cut_off("block of properties")
    if not length:
        return NO_PROPERTIES, offset
    single: dict[Property, PropertyValue] = {}
    pairs: list[tuple[str, str]] = []
    numbers: list[int] = []
    while offset < block_end:
        known = _BY_IDENTIFIER.get(data[offset])
        if known is None:
            raise malformed(f"there is no property with identifier {data[offset]}")
        key, form, words = known
        value, offset = _READERS[form.wire_type](data, offset + 1, block_end, words)
        if isinstance(value, tuple):
            pairs.append(value)
        elif isinstance(value, int) and packet_type in form.repeats_in:
            numbers.append(value)
        elif key in single:
            raise protocol_error(f"it has the property {words} twice")
        else:
            single[key] = value
    if numbers:
        single[Property.SUBSCRIPTION_IDENTIFIER] = numbers[0] if len(numbers) == 1 else tuple(numbers)
    if pairs:
        single[Property.USER_PROPERTY] = tuple(pairs)
    return MappingProxyType(single), offset


def write_properties(properties: Properties, version: Version) -> bytes:
    """The block with its length; nothing at all for 3.1.1. The values have been checked (`rules.py`)."""
    if version is Version.MQTT311:
        return b""
    if not properties:
        return b"\0"
    written = b"".join([_write(key, values) for key, values in properties.items()])
    return write_variable_byte_integer(len(written)) + written


def _write(key: Property, values: PropertyValue) -> bytes:
    """One property, or all of those that may stand several times."""
    identifier = write_byte(key)
    if isinstance(values, str):
        return identifier + write_string(values, Property(key).words)
    if isinstance(values, bytes):
        return identifier + write_binary(values, Property(key).words)
    if isinstance(values, int):
        return identifier + _NUMBER_WRITERS[FORMS[key].wire_type](values)
    parts: list[bytes] = []
    for value in values:  # there may be a thousand pairs: nothing is done for each that can be done once
        if isinstance(value, int):
            parts += identifier, _NUMBER_WRITERS[FORMS[key].wire_type](value)
        else:
            parts += identifier, write_string(value[0], _PAIR), write_string(value[1], _PAIR)
    return b"".join(parts)
