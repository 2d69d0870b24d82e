"""A finished `wss://` or `https://` URL, as vendors hand them out: where it leads, and the parts of its query.

It is read as the service reads it, not as a form: `+` stays `+`, `%XX` is decoded once. So a signature that somebody
put there with a bare `+` still arrives. What cannot be sent to AWS IoT Core with custom authentication is refused with
the reason; Python's own URL functions are not used, since they drop line breaks silently and quote what they refuse.
No message may show any part of the URL but its host name: the rest may be secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from ._validation import text
from .carriage import read_query
from .errors import ConfigurationError
from .limits import SERVICE_PORT

MQTT_PATH: Final = "/mqtt"
TOPICS_PATH: Final = "/topics/"

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?P<rest>#.*)?"
)
_AUTHORITY = re.compile(r"(?P<host>[^:@\[\]]+)(?::(?P<port>[0-9]{1,5})?)?")
_OF_A_PUBLISH = frozenset({"qos", "retain", "contentType", "responseTopic", "messageExpiry"})
"""Query parameters of an HTTPS publish that say how to publish, not who does (*API*, iot-data Publish)."""

_OTHER_SCHEMES: Final = {
    "ws": "without TLS, which the service does not serve: it must begin with wss://",
    "http": "without TLS, which the service does not serve: it must begin with https://",
    **dict.fromkeys(
        ("mqtt", "mqtts", "ssl", "tls", "tcp"),
        "of MQTT without WebSocket, which has no query: pass the host to ConnectionSettings and the MQTT user name to "
        "Credentials.from_username()",
    ),
}


@dataclass(frozen=True, slots=True, repr=False)
class ReadyUrl:
    """Where a URL leads, and the decoded parts of its query that say who connects, in their order."""

    host: str
    port: int
    parts: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"ReadyUrl({self.host}:{self.port}, {len(self.parts)} parts)"


def read_url(url: str, token_key_name: str | None = None) -> ReadyUrl:
    """Take a `wss://host/mqtt?...` or `https://host/topics/...?...` URL apart.

    What an HTTPS publish says about the message (`qos`, `contentType` and so on) is left out, unless it is the
    token's name. Raises `ConfigurationError` (code `url_invalid`) for what cannot be such a URL.
    """
    found = _match(text(url, "URL"))
    scheme, path, query = found["scheme"].lower(), found["path"], found["query"]
    _check_scheme(scheme)
    host, port = _host_and_port(found["authority"])
    publishing = scheme == "https" and path.startswith(TOPICS_PATH)
    if path != MQTT_PATH and not publishing:
        raise _invalid(
            f"has another path than the service has: wss://HOST{MQTT_PATH}?... or https://HOST{TOPICS_PATH}..."
        )
    if found["rest"]:
        raise _invalid("has a '#', and what follows one is never sent: if it belongs to a value, write it as %23")
    parts = _parts(query or "")
    if publishing:
        parts = tuple(part for part in parts if part[0] not in _OF_A_PUBLISH or part[0] == token_key_name)
    if not parts:
        raise _invalid("has no credentials in its query: a shell cuts it at a bare '&', so put it in quotes")
    return ReadyUrl(host, port, parts)


def _match(url: str) -> re.Match[str]:
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise _invalid(
            "holds white space: a line break comes from wrapping, and a space was probably a '+' or %20 before "
            "somebody decoded it"
        )
    found = _URL.fullmatch(url)
    if found is None:
        raise _invalid("is none: it must look like wss://HOST/mqtt?x-amz-customauthorizer-name=...")
    return found


def _check_scheme(scheme: str) -> None:
    if scheme in ("wss", "https"):
        return
    other = _OTHER_SCHEMES.get(scheme)
    raise _invalid(f"is {other}" if other else "must begin with wss:// or https://")


def _host_and_port(authority: str) -> tuple[str, int]:
    if "@" in authority:
        raise _invalid(
            "has a user name or password before its host, which the service does not read there: pass those to "
            "Credentials.from_password()"
        )
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise _invalid("has no host name: it must look like wss://HOST/mqtt?...")
    return found["host"], int(found["port"] or SERVICE_PORT)


def _parts(query: str) -> tuple[tuple[str, str], ...]:
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        whole = False
    else:
        whole = True
    if not whole:  # raised out here: the error above holds the query
        raise _invalid("has bytes in its query that are not UTF-8, so its values cannot be told")
    parts = read_query(query)
    if any(name.lower() == "x-amz-signature" for name, _ in parts):
        raise _invalid(
            "is signed with AWS credentials (SigV4), which is not custom authentication: use awsiotsdk for it"
        )
    return parts


def _invalid(why: str) -> ConfigurationError:
    return ConfigurationError(f"the URL {why}", code="url_invalid", phase="configuration")
