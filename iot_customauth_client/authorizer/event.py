"""The event that the service hands to an authorizer function: its shape, a builder and a reader.

Shape and order of the keys are those of a captured event, with `token` in front as the AWS page "Defining your
Lambda function" shows it; a key is present only when the request gave it a value. The builder serves the local
endpoint, the reader serves authors of functions.

Everything in an event but ids, host names and protocol names is a secret or may hold one. None of it may appear in
a repr or in the text of an error.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NotRequired, TypedDict, cast
from urllib.parse import unquote


class TlsData(TypedDict, total=False):
    """What TLS told; the last two only with an X.509 client certificate beside custom authentication."""

    serverName: str
    x509CertificatePem: str
    principalId: str


class HttpData(TypedDict, total=False):
    """What HTTPS, or the upgrade to WebSocket, told. The query string starts with `?`."""

    headers: dict[str, str]
    queryString: str


class MqttData(TypedDict, total=False):
    """What CONNECT told. The user name is the whole one, with its query; the password is base64."""

    username: str
    password: str
    clientId: str


class ProtocolData(TypedDict, total=False):
    """What each protocol in use told."""

    tls: TlsData
    http: HttpData
    mqtt: MqttData


class ConnectionMetadata(TypedDict):
    """The connection's id, a UUID."""

    id: str


class AuthorizerEvent(TypedDict):
    """The event of an authorizer function."""

    token: NotRequired[str]
    protocolData: NotRequired[ProtocolData]
    protocols: list[str]
    signatureVerified: bool
    connectionMetadata: NotRequired[ConnectionMetadata]


def build_event(
    *,
    connection_id: str,
    signature_verified: bool,
    server_name: str | None = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    query_string: str | None = None,
    username: str | None = None,
    password: bytes | None = None,
    client_id: str | None = None,
) -> AuthorizerEvent:
    """Build the event as the service does.

    server_name: the SNI name; it makes `tls` one of the protocols.
    token: the value found under the authorizer's token key, percent-decoded.
    headers, query_string: of the HTTPS request or the upgrade; names come out in lower case, the query with its `?`.
    username, password, client_id: of CONNECT; the user name whole and as it was sent, the password raw.
    """
    data: ProtocolData = {}
    if server_name is not None:
        data["tls"] = {"serverName": server_name}
    http: HttpData = {}
    if headers is not None:
        http["headers"] = {name.lower(): value for name, value in headers.items()}
    if query_string:
        http["queryString"] = query_string if query_string.startswith("?") else f"?{query_string}"
    if http:
        data["http"] = http
    mqtt: MqttData = {}
    if username is not None:
        mqtt["username"] = username
    if password is not None:
        mqtt["password"] = b64encode(password).decode("ascii")
    if client_id is not None:
        mqtt["clientId"] = client_id
    if mqtt:
        data["mqtt"] = mqtt
    event: dict[str, object] = {} if token is None else {"token": token}
    if data:
        event["protocolData"] = data
    event |= {
        "protocols": list(data),
        "signatureVerified": signature_verified,
        "connectionMetadata": {"id": connection_id},
    }
    return cast("AuthorizerEvent", event)


def parse_query(text: str) -> dict[str, str]:
    """Read a query as this library writes it: `a=1&b=x%2By` without a leading `?`.

    Names and values are percent-decoded once, `+` stays `+`, a part without `=` has an empty value, empty parts
    are skipped. Raises ValueError for a name that is given twice: the one that was checked might not be the one
    that is used.
    """
    found: dict[str, str] = {}
    for part in text.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        name = unquote(name)
        if name in found:
            raise ValueError("a parameter is given twice; send each name once")
        found[name] = unquote(value)
    return found


@dataclass(frozen=True, slots=True)
class Request:
    """An event, read and checked.

    username: what stands before the last `?` of the MQTT user name; empty if there is none.
    password: the MQTT password, decoded; None if none was sent.
    parameters: the query of the MQTT user name, percent-decoded; see `parse_query`.
    token: the value of the authorizer's token key; None if the request had none.
    signature_verified: True if the service checked the token's signature, False if signing is disabled.
    headers: of HTTPS or the upgrade to WebSocket, names in lower case.
    query_string: of the same, with its leading `?`, as it was sent; empty if there was none.
    client_id, server_name, connection_id: None if the event lacks them.

    The repr shows no secret.
    """

    username: str = field(repr=False)
    password: bytes | None = field(repr=False)
    parameters: Mapping[str, str] = field(repr=False)
    client_id: str | None
    server_name: str | None
    token: str | None = field(repr=False)
    signature_verified: bool
    headers: Mapping[str, str] = field(repr=False)
    query_string: str = field(repr=False)
    protocols: tuple[str, ...]
    connection_id: str | None

    @classmethod
    def from_event(cls, event: Mapping[str, object]) -> "Request":
        """Read an event.

        Keys that the service leaves out, or that `aws iot test-invoke-authorizer` leaves out, may be missing.
        Raises ValueError naming the key that is missing or of a wrong shape.
        """
        top = _mapping(event, "event")
        data = _member(top, "protocolData", "")
        tls = _member(data, "tls", "protocolData.")
        http = _member(data, "http", "protocolData.")
        mqtt = _member(data, "mqtt", "protocolData.")
        full_name = _text(mqtt, "username", "protocolData.mqtt.") or ""
        base, mark, query = full_name.rpartition("?")
        try:
            parameters = parse_query(query) if mark else {}
        except ValueError as error:
            raise ValueError(f"protocolData.mqtt.username: {error}") from None
        headers = _texts(_member(http, "headers", "protocolData.http."), "protocolData.http.headers")
        return cls(
            username=base if mark else full_name,
            password=_password(mqtt),
            parameters=MappingProxyType(parameters),
            client_id=_text(mqtt, "clientId", "protocolData.mqtt."),
            server_name=_text(tls, "serverName", "protocolData.tls."),
            token=_text(top, "token", ""),
            signature_verified=_signature_verified(top),
            headers=MappingProxyType({name.lower(): value for name, value in headers.items()}),
            query_string=_text(http, "queryString", "protocolData.http.") or "",
            protocols=_protocols(top),
            connection_id=_text(_member(top, "connectionMetadata", ""), "id", "connectionMetadata."),
        )


def _mapping(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path} must be an object, not {type(value).__name__}")
    return cast("Mapping[str, object]", value)


def _member(parent: Mapping[str, object], key: str, prefix: str) -> Mapping[str, object]:
    """Return an object that may be missing, and is empty then."""
    return _mapping(parent[key], f"{prefix}{key}") if key in parent else {}


def _text(parent: Mapping[str, object], key: str, prefix: str) -> str | None:
    value = parent.get(key)
    if key in parent and not isinstance(value, str):
        raise ValueError(f"{prefix}{key} must be a string, not {type(value).__name__}")
    return cast("str | None", value)


def _texts(value: Mapping[str, object], path: str) -> Mapping[str, str]:
    for name, entry in value.items():
        if not isinstance(name, str) or not isinstance(entry, str):
            raise ValueError(f"{path} must hold strings only")
    return cast("Mapping[str, str]", value)


def _password(mqtt: Mapping[str, object]) -> bytes | None:
    encoded = _text(mqtt, "password", "protocolData.mqtt.")
    if encoded is None:
        return None
    try:
        return b64decode(encoded, validate=True)
    except ValueError:
        message = "protocolData.mqtt.password is not base64: the service encodes the password that the device sent"
        raise ValueError(message) from None


def _signature_verified(top: Mapping[str, object]) -> bool:
    value = top.get("signatureVerified")
    if not isinstance(value, bool):
        raise ValueError("signatureVerified must be true or false, and is always there")
    return value


def _protocols(top: Mapping[str, object]) -> tuple[str, ...]:
    value = top.get("protocols")
    if not isinstance(value, list | tuple):
        raise ValueError("protocols must be a list of names, and is always there")
    names = cast("list[object] | tuple[object, ...]", value)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("protocols must hold strings only")
    return tuple(cast("list[str] | tuple[str, ...]", value))
