"""What a client presents to be let in, and where in it the service finds authorizer, token and signature.

The three names travel through one of three carriers, and not every protocol has each of them:

    protocol            headers            query                 MQTT user name
    MQTT over TLS       -                  -                     CONNECT
    MQTT over WebSocket of the upgrade     of the upgrade        CONNECT
    HTTPS publish       of the request     of the request        -

The first carrier that holds one of the names, in the order headers, query, user name, is the one that is read, and
the others are not: the service does not document what wins, and a mixture would hide a mistake. "One of the names" is
a reserved one, or the default authorizer's token key.

Pure, and no repr shows a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import unquote

from ..carriage import read_query, read_username, shown_name
from ..limits import RESERVED_PARAMETERS
from .words import listed

_SIGV4 = "AWS4-HMAC-SHA256"
_MOST_NAMES = 20


class Carrier(Enum):
    """Where the three names stand; the value is the place as sentences name it."""

    HEADERS = "the HTTP headers"
    QUERY = "the URL's query"
    USERNAME = "the MQTT user name"


@dataclass(frozen=True, slots=True, repr=False)
class HttpPart:
    """Of an HTTPS request or an upgrade. `headers`: names in lower case, in order; `query`: raw, None without a `?`."""

    headers: tuple[tuple[str, str], ...]
    query: str | None


@dataclass(frozen=True, slots=True, repr=False)
class MqttPart:
    """Of CONNECT, as it came; the client id may be empty."""

    username: str | None
    password: bytes | None
    client_id: str


@dataclass(frozen=True, slots=True, repr=False)
class Presented:
    """All that one client presented."""

    server_name: str | None
    http: HttpPart | None = None
    mqtt: MqttPart | None = None
    plus_is_space: bool = field(default=False, kw_only=True)
    """Whether `+` in a query stands for a space, as in HTML forms."""
    _carriers: tuple[Carried, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_carriers", self._read())  # once: a query may hold thousands of parameters

    def carriers(self) -> tuple[Carried, ...]:
        """Return what each carrier holds, in the order in which they are looked at."""
        return self._carriers

    def _read(self) -> tuple[Carried, ...]:
        found: list[Carried] = []
        if self.http is not None:
            found.append(Carried(Carrier.HEADERS, self.http.headers))
            found.append(Carried(Carrier.QUERY, read_query(self._plain(self.http.query or ""))))
        if self.mqtt is not None:
            read = read_username(self.mqtt.username or "")
            parameters = read_query(self._plain(read.query or ""))
            found.append(Carried(Carrier.USERNAME, parameters, read.base, read.query is not None))
        return tuple(found)

    def raw_value(self, carrier: Carrier, name: str) -> str | None:
        """Return the first value of a name in a query or in the user name's, as it was sent: not decoded."""
        if carrier is Carrier.QUERY:
            query = self.http.query if self.http is not None else None
        else:
            query = read_username(self.mqtt.username or "").query if self.mqtt is not None else None
        parts = (part.partition("=") for part in (query or "").split("&"))
        return next((value for sent, _, value in parts if unquote(sent) == name), None)

    def _plain(self, query: str) -> str:
        return plain_query(query, plus_is_space=self.plus_is_space)

    @property
    def has_sigv4(self) -> bool:
        """Whether the request is signed with AWS credentials, in the header or in the query."""
        if self.http is None:
            return False
        signed = any(name == "authorization" and value.startswith(_SIGV4) for name, value in self.http.headers)
        return signed or any(
            carried.carrier is Carrier.QUERY and carried.get("X-Amz-Algorithm") is not None
            for carried in self._carriers
        )


@dataclass(frozen=True, slots=True, repr=False)
class Carried:
    """The names and values of one carrier, decoded.

    base, has_query: of an MQTT user name, what stands before its query, and whether it has one.
    """

    carrier: Carrier
    parameters: tuple[tuple[str, str], ...]
    base: str = ""
    has_query: bool = False

    def get(self, name: str) -> str | None:
        """Return the first value of a name, or None. The names of headers have no case."""
        wanted = self._as_sent(name)
        return next((value for key, value in self.parameters if key == wanted), None)

    def repeats(self, name: str) -> bool:
        """Tell whether a name came more than once."""
        wanted = self._as_sent(name)
        return sum(key == wanted for key, _ in self.parameters) > 1

    def holds(self, names: Iterable[str]) -> bool:
        """Tell whether one of the names is there."""
        wanted = {self._as_sent(name) for name in names}
        return any(key in wanted for key, _ in self.parameters)

    def names(self) -> str:
        """Return the names as a sentence shows them: a secret that was pasted in place of a name is none.

        Twenty of them at most, since a client may send thousands.
        """
        names = list(dict.fromkeys(shown_name(name, value) for name, value in self.parameters))
        more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
        return listed(names[:_MOST_NAMES]) + more

    def _as_sent(self, name: str) -> str:
        return name.lower() if self.carrier is Carrier.HEADERS else name


def plain_query(query: str, *, plus_is_space: bool) -> str:
    """Return a raw query in which a `+` stands for nothing but itself."""
    return query.replace("+", "%20") if plus_is_space else query


def choose_carrier(presented: Presented, default_key: str | None) -> Carried | None:
    """Return the carrier that holds one of the names; None if none does.

    default_key: token key name of the default authorizer, if there is one.
    """
    return next(iter(_holders(presented, default_key)), None)


def conflict(presented: Presented, default_key: str | None, *, refused: bool = False) -> str | None:
    """Say which carriers hold credentials that are left aside, or all refused; None if it is clear what is meant."""
    first, *others = [held.carrier.value for held in _holders(presented, default_key)] or [""]
    if not others:
        return None
    winner = "here none does (choices: credentials_in_two_places)" if refused else f"here {first} does"
    return (
        f"credentials came in {first} and also in {' and '.join(others)}: the service does not document which wins;"
        f" {winner}, send them in one place"
    )


def _holders(presented: Presented, default_key: str | None) -> list[Carried]:
    names = RESERVED_PARAMETERS if default_key is None else (*RESERVED_PARAMETERS, default_key)
    return [carried for carried in presented.carriers() if carried.holds(names)]
