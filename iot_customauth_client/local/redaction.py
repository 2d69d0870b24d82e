"""Taking the secrets out of what the endpoint tells about an authorizer's event and result.

An MQTT user name, a password, a token and a signature are credentials; the names around them are what a person needs
to find a mistake. So values are replaced by their size, names stay. Texts that a function wrote (the message of its
exception) are searched for the secrets of the event it was given.

Nothing in this file may be skipped when an event is made, unless the user asked to see secrets.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import cast

from ..authorizer.event import AuthorizerEvent
from ..carriage import NAME_PARAMETER, read_username, redact_text, redact_username

_RESULT_KEYS = frozenset(
    {"isAuthenticated", "principalId", "policyDocuments", "disconnectAfterInSeconds", "refreshAfterInSeconds"}
)
_SHORT_CHARACTERS = 4
_HIDDEN = "<hidden>"


def shown_event(event: AuthorizerEvent) -> dict[str, object]:
    """Return a copy of the event in which user name, password and token are replaced by their sizes."""
    shown: dict[str, object] = dict(event)
    if "token" in event:
        shown["token"] = redact_text(event["token"])
    data = event.get("protocolData")
    if data is not None and "mqtt" in data:
        mqtt: dict[str, object] = dict(data["mqtt"])
        if "username" in data["mqtt"]:
            mqtt["username"] = redact_username(data["mqtt"]["username"])
        if "password" in data["mqtt"]:
            size = len(base64.b64decode(data["mqtt"]["password"]))
            mqtt["password"] = f"<{size} bytes, base64>"
        shown["protocolData"] = {**data, "mqtt": mqtt}
    return shown


def shown_result(result: object, event: AuthorizerEvent) -> dict[str, object] | None:
    """Return what a function returned, fit to be shown; `None` if it is no object.

    Keys that the service ignores keep their name only: authors put passwords there. Secrets of the event that come
    back in a text are hidden; the base user name stays, it often is the principal id.
    """
    if not isinstance(result, Mapping):
        return None
    secrets = tuple(_secrets(event, with_username=False))
    return {
        key: _hide_in(value, secrets) if key in _RESULT_KEYS else "<ignored by the service>"
        for key, value in cast("Mapping[str, object]", result).items()
    }


def scrub(text: str, event: AuthorizerEvent) -> str:
    """Return `text` without any secret of `event`, the user name included."""
    return _hide(text, tuple(_secrets(event, with_username=True)))


def _secrets(event: AuthorizerEvent, *, with_username: bool) -> Iterator[str]:
    if "token" in event:
        yield event["token"]
    mqtt = event.get("protocolData", {}).get("mqtt", {})
    if "password" in mqtt:
        yield mqtt["password"]
        yield base64.b64decode(mqtt["password"]).decode("utf-8", "replace")
    if "username" not in mqtt:
        return
    read = read_username(mqtt["username"])
    if with_username:
        yield mqtt["username"]
        yield read.base
    for name, value in read.parameters:
        if name != NAME_PARAMETER:
            yield value
    for part in (read.query or "").split("&"):
        name, _, value = part.partition("=")
        if name != NAME_PARAMETER:
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


def _hide(text: str, secrets: tuple[str, ...]) -> str:
    for secret in sorted({each for each in secrets if each}, key=len, reverse=True):
        if len(secret) >= _SHORT_CHARACTERS:
            text = text.replace(secret, _HIDDEN)
        else:  # a password of one letter must not take that letter out of every word
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
    return text
