"""What AWS does not document about custom authentication, as settings: one for each question that a user may need
answered the other way.

The default of each is what the local endpoint takes for most likely. Whoever wants to know that a client or an
authorizer copes with the other answer sets it and runs the same test again. A question whose answer no client and no
authorizer can notice, or notice only in ways that make no difference to them, is no setting.

Pure values: nothing here acts. A misspelt name or value is refused when the object is made, never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from .._suggest import unknown
from ..errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How the local endpoint behaves where AWS IoT Core's behaviour is not known.

    Args:
        refused_connect_mqtt5: what an MQTT 5 client gets whose CONNECT fails before the policy is asked: wrong or no
            credentials, wrong signature, a function that denies or fails. AWS lists 134 and 135 among the codes of its
            CONNACK (page "MQTT") without saying when; its SDKs' tests take a connection that just ends too.
            `135`, `134`, or `"hang_up"`: no CONNACK. A denial by the policy is 135 in any case.
        refused_upgrade_status: the HTTP status of a WebSocket upgrade whose credentials are refused: `403` or `401`.
            AWS documents 403 for HTTPS publishes only.

        disallowed_override: what happens to an authorizer's name that a client sends to a domain configuration whose
            `allow_authorizer_override` is false, if it is not the default authorizer's. AWS documents no answer; users
            report both. `"ignore"`: the default authorizer is asked, and the log warns; `"refuse"`.

    Raises:
        ConfigurationError: (also a ValueError) a value that is not among these.
    """

    refused_connect_mqtt5: Literal[135, 134, "hang_up"] = 135
    refused_upgrade_status: Literal[403, 401] = 403
    disallowed_override: Literal["ignore", "refuse"] = "ignore"

    def __post_init__(self) -> None:
        for name, kind in _kinds().items():
            _check(name, getattr(self, name), kind)


def read_choices(table: Mapping[str, Any]) -> Choices:
    """Make `Choices` of a table of names and values.

    Raises `ConfigurationError` for a name that is none, with the nearest one, and for a value that cannot be.
    """
    names = [each.name for each in fields(Choices)]
    for name in table:
        if name not in names:
            raise ConfigurationError(unknown("key", name, names))
    return Choices(**table)


def values_of(name: str) -> tuple[object, ...]:
    """Return the values that a setting may have; of a number of seconds the least, the most and any word."""
    return (*_RANGES.get(name, ()), *_alternatives(_kinds()[name]))


_RANGES: Final[Mapping[str, tuple[int, int]]] = {}
"""Least and most of the settings that are a number of seconds."""


@cache
def _kinds() -> Mapping[str, Any]:
    return get_type_hints(Choices)


def _check(name: str, value: object, kind: Any) -> None:
    alternatives = _alternatives(kind)
    if any(type(value) is type(each) and value == each for each in alternatives):
        return
    limits = _RANGES.get(name)
    if limits is None:
        if isinstance(value, str):
            words = [each for each in alternatives if isinstance(each, str)]
            raise ConfigurationError(
                unknown(name, value, words) if words else f"{name} is {value!r}: {_listed(alternatives)}"
            )
        raise ConfigurationError(f"{name} is {value!r}: {_listed(alternatives)}")
    least, most = limits
    if type(value) is not int or not least <= value <= most:
        other = "".join(f", or {each!r}" for each in alternatives)
        raise ConfigurationError(f"{name} is {value!r}: it must be a whole number from {least} to {most}{other}")


def _alternatives(kind: Any) -> tuple[object, ...]:
    """Return the members of the Literal that a type is or holds."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(member for part in get_args(kind) for member in _alternatives(part))


def _listed(alternatives: tuple[object, ...]) -> str:
    return f"it must be {' or '.join(map(repr, alternatives))}"


DEFAULT_CHOICES: Final = Choices()
