"""Taking the secrets out of what the endpoint tells about an authorizer's event and result.

An MQTT user name, a password, a token and a signature are credentials, in whichever header, query or packet they came;
the names around them are what a person needs to find a mistake. So values are replaced by their size, names stay.
Texts that a function wrote (the message of its exception) are searched for the secrets of the event it was given.

Nothing in this file may be skipped when an event is made, unless the user asked to see secrets.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import cast

from ..authorizer.event import AuthorizerEvent, HttpData
from ..carriage import (
    NAME_PARAMETER,
    read_query,
    read_username,
    redact_query,
    redact_text,
    redact_username,
    shown_name,
)
from .http_names import HARMLESS_HEADERS, PUBLISH_PARAMETERS

_RESULT_KEYS = frozenset(
    {"isAuthenticated", "principalId", "policyDocuments", "disconnectAfterInSeconds", "refreshAfterInSeconds"}
)
_SHORT_CHARACTERS = 4
_SHOWN_CHARACTERS = 300
_TELLING_CHARACTERS = 16
_LOOKED_THROUGH_CHARACTERS = 50_000_000
"""How much text is looked through for the secrets of one event. A query of 64 KiB can hold 13,000 of them, and to look
for each in a text that repeats them all would take seconds, in which nobody else is served."""
_HIDDEN = "<hidden>"


def shown_event(event: AuthorizerEvent) -> dict[str, object]:
    """Return a copy of the event in which all that may be a secret is replaced by its size."""
    shown: dict[str, object] = dict(event)
    if "token" in event:
        shown["token"] = redact_text(event["token"])
    data = event.get("protocolData")
    if data is None:
        return shown
    parts: dict[str, object] = dict(data)
    if "http" in data:
        parts["http"] = _shown_http(data["http"])
    if "mqtt" in data:
        mqtt: dict[str, object] = dict(data["mqtt"])
        if "username" in data["mqtt"]:
            mqtt["username"] = redact_username(data["mqtt"]["username"])
        if "password" in data["mqtt"]:
            size = len(base64.b64decode(data["mqtt"]["password"]))
            mqtt["password"] = f"<{size} bytes, base64>"
        parts["mqtt"] = mqtt
    shown["protocolData"] = parts
    return shown


def _shown_http(data: HttpData) -> dict[str, object]:
    shown: dict[str, object] = {}
    if "headers" in data:
        shown["headers"] = {
            shown_name(name, value): value if name in HARMLESS_HEADERS else redact_text(value)
            for name, value in data["headers"].items()
        }
    if "queryString" in data:
        shown["queryString"] = f"?{shown_query(data['queryString'][1:])}"
    return shown


def shown_query(query: str) -> str:
    """Return the query of a URL, without its `?`, with its values hidden but those that say what is published."""
    return "&".join(
        part[:_SHOWN_CHARACTERS] if part.partition("=")[0] in PUBLISH_PARAMETERS else redact_query(part)
        for part in query.split("&")
    )


def shown_result(result: object, event: AuthorizerEvent) -> dict[str, object] | None:
    """Return what a function returned, fit to be shown; `None` if it is no object.

    Keys that the service ignores keep their name only: authors put passwords there. Secrets of the event that come
    back in a text are hidden; the base user name stays, it often is the principal id.
    """
    if not isinstance(result, Mapping):
        return None
    secrets = _written(event, with_username=False)
    return {
        _hide(key, secrets): _hide_in(value, secrets) if key in _RESULT_KEYS else "<ignored by the service>"
        for key, value in cast("Mapping[str, object]", result).items()
    }


def scrub(text: str, event: AuthorizerEvent) -> str:
    """Return `text` without any secret of `event`, the user name included."""
    return _hide(text, _written(event, with_username=True))


def _written(event: AuthorizerEvent, *, with_username: bool) -> tuple[str, ...]:
    """Every secret of an event in each form it may appear in, the longest first."""
    written = set(_as_written(_secrets(event, with_username=with_username)))
    return tuple(sorted(written - {""}, key=len, reverse=True))


def _as_written(secrets: Iterator[str]) -> Iterator[str]:
    """Each secret as it is, and as an error text quotes it: with the escapes of Python's literals and of JSON."""
    for secret in secrets:
        yield secret
        yield repr(secret)[1:-1]
        yield ascii(secret)[1:-1]
        yield json.dumps(secret)[1:-1]
        yield repr(secret.encode("utf-8", "surrogatepass"))[2:-1]


def _secrets(event: AuthorizerEvent, *, with_username: bool) -> Iterator[str]:
    if "token" in event:
        yield event["token"]
    data = event.get("protocolData", {})
    yield from _http_secrets(data.get("http", {}))
    mqtt = data.get("mqtt", {})
    if "password" in mqtt:
        yield mqtt["password"]
        yield base64.b64decode(mqtt["password"]).decode("utf-8", "replace")
    if "username" not in mqtt:
        return
    read = read_username(mqtt["username"])
    if with_username:
        yield mqtt["username"]
        yield read.base
    yield from _query_secrets(read.query or "", {NAME_PARAMETER})


def _http_secrets(data: HttpData) -> Iterator[str]:
    for name, value in data.get("headers", {}).items():
        if name not in HARMLESS_HEADERS:
            yield value
    yield from _query_secrets(data.get("queryString", "")[1:], {NAME_PARAMETER, *PUBLISH_PARAMETERS})


def _query_secrets(query: str, harmless: Collection[str]) -> Iterator[str]:
    """The values of a query, as they were sent and decoded."""
    for name, value in read_query(query):
        if name not in harmless:
            yield value
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in harmless:
            yield value


def _hide_in(value: object, secrets: tuple[str, ...]) -> object:
    if isinstance(value, str):
        return _hide(value, secrets)
    if isinstance(value, list):
        return [_hide_in(each, secrets) for each in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, object]", value).items()
        return {_hide(key, secrets): _hide_in(each, secrets) for key, each in members}
    return value


def _hide_beginning(text: str, secret: str) -> str:
    """Hide a long secret also where somebody cut it off: its beginning tells nearly as much."""
    beginning = secret[:_TELLING_CHARACTERS]
    start = text.find(beginning)
    while start >= 0:
        end = start + _shared_length(text[start : start + len(secret)], secret)
        text = text[:start] + _HIDDEN + text[end:]
        start = text.find(beginning, start + len(_HIDDEN))
    return text


def _shared_length(text: str, secret: str) -> int:
    for index, (one, other) in enumerate(zip(text, secret, strict=False)):
        if one != other:
            return index
    return min(len(text), len(secret))


def _hide(text: str, secrets: tuple[str, ...]) -> str:
    if len(secrets) * len(text) > _LOOKED_THROUGH_CHARACTERS:
        return f"<{len(text)} characters, hidden whole: the client sent too many values to look for each of them>"
    for secret in secrets:
        if len(secret) > _TELLING_CHARACTERS:
            text = _hide_beginning(text, secret)
        if secret not in text:  # a pattern for each would take seconds: a client may send thousands of values
            continue
        if len(secret) >= _SHORT_CHARACTERS:
            text = text.replace(secret, _HIDDEN)
        else:  # a password of one letter must not take that letter out of every word
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
    return text
