"""Which protocol a TLS client gets: the port's multiplexing, as a table.

The service has one port, 443, and several protocols behind it. The server name (SNI) selects the account and its
domain configuration, then the offered application protocols (ALPN) select the door:

    offered ALPN                            answer
    `mqtt`, alone or among others           MQTT with custom authentication
    `http/1.1` without `mqtt`, or nothing   HTTP: publish by POST, MQTT over WebSocket
    `x-amzn-mqtt-ca`, `x-amzn-http-ca`      only with an X.509 client certificate: handshake_failure
    anything else                           no_application_protocol

That is the default endpoint. Where a domain configuration fixes the protocol, ALPN does not select it: `domains.py`.

Pure: values in, a value out. A client is never let in by kindness where the service would refuse, and never
turned away without a sentence that says what it did and what to write instead.
Source: Dev Guide "Device communication protocols" and "Troubleshooting your authorizers"; what a client sees when
its SNI is absent or unknown is not documented, and neither is the choice when `http/1.1` is offered together with
an `x-amzn-` name (here: HTTP).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import ip_address

from iot_customauth_client.errors import ConfigurationError

_MAX_SHOWN_CHARACTERS = 100
_MAX_SHOWN_NAMES = 8
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # no underscore: no certificate could be made for the name
_HOST_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_MAX_HOST_NAME_CHARACTERS = 253


class Alert(IntEnum):
    """The fatal TLS alerts that are sent here, by their numbers (RFC 8446 section 6, RFC 7301)."""

    UNEXPECTED_MESSAGE = 10
    HANDSHAKE_FAILURE = 40
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70
    UNRECOGNIZED_NAME = 112
    NO_APPLICATION_PROTOCOL = 120


_ALPN_OF_CERTIFICATES = {"mqtt": "x-amzn-mqtt-ca", "http/1.1": "x-amzn-http-ca"}


class Door(Enum):
    """A protocol that the endpoint speaks inside TLS."""

    MQTT = "mqtt"
    HTTP = "http/1.1"

    @property
    def alpn(self) -> tuple[str, ...]:
        """What the server side of TLS must be ready to select for this door, its own name first.

        The other name is for domain configurations that speak one protocol whatever is offered (`domains.py`): a
        client that offers it there may insist on having it selected.
        """
        return (self.value, _ALPN_OF_CERTIFICATES[self.value])


@dataclass(frozen=True, slots=True)
class TurnAway:
    """A connection that ends before MQTT.

    `cause` is a stable slug, `alert` the TLS alert to send first (None: just close), `explanation`
    one line for the log: what the client did and what to write instead. It never holds a secret.
    """

    cause: str
    alert: Alert | None
    explanation: str


@dataclass(frozen=True, slots=True)
class ServedNames:
    """The host names that stand for the service, compared without regard to case.

    A name may be an IP address, or begin with `*.`, which stands for exactly one label, as in certificates.
    A trailing dot is refused on both sides: RFC 6066 section 3 wants the name in SNI without it.
    Raises ConfigurationError, naming the mistake, for an empty list and for what is not a host name.
    """

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]) -> None:
        listed = tuple(dict.fromkeys(check_host_name(name) for name in names))
        if not listed:
            raise ConfigurationError("no host name to serve: give at least one, for example localhost")
        object.__setattr__(self, "names", listed)

    def __contains__(self, name: str) -> bool:
        wanted = _canonical(name)
        if wanted in self.names:
            return not wanted.startswith("*")
        _, dot, parent = wanted.partition(".")
        return bool(dot) and not _is_address(wanted) and f"*.{parent}" in self.names

    def __str__(self) -> str:
        return shown(self.names)


def choose_door(server_name: str | None, alpn: Sequence[str], served: ServedNames) -> Door | TurnAway:
    """Decide what a client gets that offers this server name (SNI) and these protocols (ALPN, in its order)."""
    if server_name is None:
        return TurnAway(
            "sni_missing",
            Alert.UNRECOGNIZED_NAME,
            "no server name (SNI) in the ClientHello: the service finds the account by it. "
            f"Connect by host name, not by IP address; served here: {served}",
        )
    if server_name not in served:
        return TurnAway("sni_unknown", Alert.UNRECOGNIZED_NAME, _unknown_name(server_name, served))
    return door_by_alpn(alpn)


def door_by_alpn(alpn: Sequence[str]) -> Door | TurnAway:
    """Decide what a client gets that offers these protocols, whatever the name it comes by."""
    if not alpn:
        return Door.HTTP
    for protocol, answer in _BY_ALPN:
        if protocol in alpn:
            return answer
    return TurnAway(
        "alpn_unknown",
        Alert.NO_APPLICATION_PROTOCOL,
        f"ALPN {shown(alpn)} is unknown to the service: custom authentication over MQTT needs exactly `mqtt`, "
        "WebSocket and HTTPS need none (curl: --no-alpn)",
    )


# In order of preference, which is the server's and not the client's.
_BY_ALPN: tuple[tuple[str, Door | TurnAway], ...] = (
    ("mqtt", Door.MQTT),
    ("http/1.1", Door.HTTP),
    (
        "x-amzn-mqtt-ca",
        TurnAway(
            "alpn_for_client_certificates",
            Alert.HANDSHAKE_FAILURE,
            "ALPN `x-amzn-mqtt-ca` is for X.509 client certificates; custom authentication over MQTT needs "
            "exactly `mqtt`",
        ),
    ),
    (
        "x-amzn-http-ca",
        TurnAway(
            "alpn_for_client_certificates",
            Alert.HANDSHAKE_FAILURE,
            "ALPN `x-amzn-http-ca` is for X.509 client certificates; custom authentication over HTTPS and "
            "WebSocket needs no ALPN, over MQTT exactly `mqtt`",
        ),
    ),
)


def looks_like_host_name(name: str) -> bool:
    """Tell whether a text has the form of a host name, so that it can be shown: no user, password or path is in it."""
    return len(name) <= _MAX_HOST_NAME_CHARACTERS and _HOST_NAME.fullmatch(name.lower()) is not None


def shown(names: Sequence[str]) -> str:
    """Names as they stand in a log line: quoted, joined, and cut where a stranger sent too much."""
    parts = [f"`{name[:_MAX_SHOWN_CHARACTERS]}`" for name in names[:_MAX_SHOWN_NAMES]]
    if len(names) > _MAX_SHOWN_NAMES:
        parts.append(f"and {len(names) - _MAX_SHOWN_NAMES} more")
    return ", ".join(parts)


def _unknown_name(name: str, served: ServedNames) -> str:
    sentence = f"server name (SNI) {shown([name])} is not served here; served: {served}. "
    if name.endswith(".") and name[:-1] in served:
        return sentence + "Write the host name without the dot at its end"
    if _is_address(name):
        return sentence + "Connect by host name: the service cannot be reached by an IP address"
    return sentence + "Connect by a served name, or serve this one too (--hostname)"


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _canonical(name: str) -> str:
    return str(ip_address(name)) if _is_address(name) else name.lower()


def check_host_name(name: str) -> str:
    """Return a host name as names are compared: an IP address, or in lower case, `*.` allowed as its first label.

    Raises ConfigurationError for what is not a host name.
    """
    canonical = _canonical(name)
    if _is_address(name):
        return canonical
    if canonical.endswith("."):
        raise ConfigurationError(f"host name {name!r} ends with a dot; write {name[:-1]!r}")
    if len(canonical) > _MAX_HOST_NAME_CHARACTERS or _HOST_NAME.fullmatch(canonical) is None:
        raise ConfigurationError(
            f"{name!r} is not a host name: write it without scheme, port and path, as labels of 1 to 63 letters, digits"
            " and hyphens with dots between; non-ASCII labels in their xn-- form"
        )
    return canonical
