"""Who is connected from where, and who has to go when there are too many.

Files are what an endpoint runs out of first, and a peer costs one before it has shown anything. So connections are
counted, in all and for each address, in three groups:

    strangers   the endpoint waits for them: for a ClientHello, a CONNECT, a request
    asking      they wait for the endpoint: their authorizer runs
    clients     an authorizer has let them in: they are counted, and never ended here
    leaving     they have been told all, and only their end of the TCP connection is waited for

A newcomer is a stranger. If it makes too many connections, first those that are leaving are cut short. If there are
none, or too many who are not let in yet, the oldest stranger of the address that has the most of these has to go. So a
flood from one address evicts itself and nobody else's handshake; and from one address alone, whoever is slowest goes,
which is not who sends a CONNECT at once.

Knows numbers and addresses only; ending a connection is its caller's matter. No loop here is longer than the number of
addresses.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

MAX_HALF_OPEN: Final = 4_096
"""Connections that no authorizer has let in, at most, however many files there are: each may hold a TLS handshake."""

_FEWEST: Final = 64
_UNLIMITED_FILES: Final = 65_536


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """How many connections there may be: in all, not let in yet, and of each for one address."""

    connections: int
    half_open: int
    connections_per_address: int
    half_open_per_address: int

    @classmethod
    def of(
        cls,
        open_files: int | None,
        *,
        connections_per_address: int | None = None,
        half_open_per_address: int | None = None,
    ) -> PeerLimits:
        """Derive the limits from the number of files that the process may open; None for any number.

        A sixteenth of the files, and at least 32, is left for everything else; three quarters of the rest may be
        connections that are not let in yet; one address may have seven eighths of either unless it is said.
        """
        files = _UNLIMITED_FILES if open_files is None else open_files
        connections = max(_FEWEST, files - max(32, files // 16))
        half_open = min(MAX_HALF_OPEN, max(_FEWEST, connections * 3 // 4))
        return cls(
            connections,
            half_open,
            connections_per_address or connections * 7 // 8,
            half_open_per_address or half_open * 7 // 8,
        )


@dataclass(frozen=True, slots=True)
class Eviction:
    """A connection that has to end so that another one has room. `told` is True if it has had its last word."""

    connection: int
    cause: str
    explanation: str
    told: bool = False


class Peers:
    """The connections of one endpoint, by address. An address is any text; "" stands for one that is not known."""

    def __init__(self, limits: PeerLimits) -> None:
        self.limits = limits
        """May be replaced at any time; it holds for newcomers."""
        self._address_of: dict[int, str] = {}
        self._connections: Counter[str] = Counter()
        self._half_open = 0
        self._strangers: dict[str, dict[int, None]] = {}
        self._asking: dict[str, dict[int, None]] = {}
        self._leaving: dict[str, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._address_of)

    @property
    def half_open(self) -> int:
        """Connections that no authorizer has let in yet, without those that are leaving."""
        return self._half_open

    def opened(self, connection: int, address: str) -> Eviction | None:
        """Count a newcomer; returns who has to go for it, which may be itself."""
        self._address_of[connection] = address
        self._connections[address] += 1
        self._put(self._strangers, connection, address)
        limits = self.limits
        crowded = self._half_open > limits.half_open  # then one of these has to go, and who is leaving is not one
        if self._connections[address] > limits.connections_per_address:
            if address in self._leaving and not crowded and not self._is_crowded(address):
                return self._cut_short(address)
            explanation = (
                f"{limits.connections_per_address:,} connections from {address or 'one address'}, which is what one"
                " address may have (max_connections_per_address)"
            )
            return self._end_one(address, "too_many_connections", explanation)
        if self._is_crowded(address):
            explanation = (
                f"{limits.half_open_per_address:,} connections from {address or 'one address'} are not let in by an"
                " authorizer yet (max_half_open_per_address)"
            )
            return self._end_one(address, "too_many_half_open", explanation)
        if len(self._address_of) > limits.connections:
            if self._leaving and not crowded:
                return self._cut_short(next(iter(self._leaving)))
            explanation = (
                f"{limits.connections:,} connections are open, which leaves few of the files that this process may"
                " open; raise that limit (ulimit -n)"
            )
            return self._end_one(self._busiest(), "too_many_connections", explanation)
        if crowded:
            explanation = f"{limits.half_open:,} connections are not let in by an authorizer yet"
            return self._end_one(self._busiest(), "too_many_half_open", explanation)
        return None

    def asks(self, connection: int) -> None:
        """Its authorizer runs: the endpoint does not wait for the peer, but the peer for it."""
        address = self._address_of.get(connection)
        if address is not None and self._take(self._strangers, connection, address):
            self._put(self._asking, connection, address)

    def is_awaited(self, connection: int) -> None:
        """The endpoint waits for the peer again, from now on; without effect for a client."""
        address = self._address_of.get(connection)
        if address is not None and self._take_half_open(connection, address):
            self._put(self._strangers, connection, address)

    def let_in(self, connection: int) -> None:
        """It is a client now."""
        address = self._address_of.get(connection)
        if address is not None:
            self._take_half_open(connection, address)

    def leaves(self, connection: int) -> None:
        """It was told all, and is only waited for to close."""
        self.let_in(connection)
        address = self._address_of.get(connection)
        if address is not None:
            self._leaving.setdefault(address, {})[connection] = None

    def closed(self, connection: int) -> None:
        """Forget a connection."""
        self.let_in(connection)
        address = self._address_of.pop(connection, None)
        if address is not None:
            self._forget_leaving(connection, address)
            self._connections[address] -= 1
            if not self._connections[address]:
                del self._connections[address]

    def make_room(self) -> list[Eviction]:
        """Return who goes when the system gives no more files: all that are leaving, or else some strangers."""
        if self._leaving:
            leaving = [address for address, members in self._leaving.items() for _ in members]
            return [self._cut_short(address) for address in leaving]
        explanation = "the system gives this process no more files; raise that limit (ulimit -n)"
        strangers = sum(map(len, self._strangers.values()))
        return [
            self._end_one(self._busiest(), "too_many_connections", explanation) for _ in range((strangers + 3) // 4)
        ]

    def sizes(self) -> dict[str, int]:
        """Count what is held."""
        return {
            "connections": len(self._address_of),
            "addresses": len(self._connections),
            "half_open": self._half_open,
            "leaving": sum(map(len, self._leaving.values())),
        }

    # -- inside -------------------------------------------------------------------------------------------------------

    def _half_open_of(self, address: str) -> int:
        return len(self._strangers.get(address, ())) + len(self._asking.get(address, ()))

    def _is_crowded(self, address: str) -> bool:
        return self._half_open_of(address) > self.limits.half_open_per_address

    def _busiest(self) -> str:
        """The address that has the most connections which are not let in, of those with a stranger."""
        return max({*self._strangers, *self._asking}, key=self._half_open_of)

    def _end_one(self, address: str, cause: str, explanation: str) -> Eviction:
        """Choose the oldest stranger of an address; if all of them are asking, the one that began last."""
        strangers = self._strangers.get(address)
        where = address or "one address"
        if strangers:
            connection = next(iter(strangers))
            who = f"of those from {where} the oldest that is waited for is closed"
        else:
            connection = next(reversed(self._asking[address]))
            who = f"all of those from {where} wait for their authorizer, and the one that began last is closed"
        self.let_in(connection)
        return Eviction(connection, cause, f"{explanation}; {who}")

    def _cut_short(self, address: str) -> Eviction:
        connection = next(iter(self._leaving[address]))
        self._forget_leaving(connection, address)
        return Eviction(connection, "too_many_connections", "others need its place", told=True)

    def _forget_leaving(self, connection: int, address: str) -> None:
        members = self._leaving.get(address)
        if members is not None:
            members.pop(connection, None)
            if not members:
                del self._leaving[address]

    def _put(self, group: dict[str, dict[int, None]], connection: int, address: str) -> None:
        group.setdefault(address, {})[connection] = None
        self._half_open += 1

    def _take(self, group: dict[str, dict[int, None]], connection: int, address: str) -> bool:
        members = group.get(address)
        if members is None or connection not in members:
            return False
        del members[connection]
        if not members:
            del group[address]
        self._half_open -= 1
        return True

    def _take_half_open(self, connection: int, address: str) -> bool:
        return self._take(self._strangers, connection, address) or self._take(self._asking, connection, address)
