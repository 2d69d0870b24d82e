"""Which fault befalls which device, and when: a function of the seed alone, so that every client meets the same.

Pure. The faults of one service are dealt from one shuffled deck to its devices, so each kind comes up about equally
often and each device meets another mixture; on one device they follow each other, with random pauses between them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Service: TypeAlias = Literal["mosquitto", "endpoint"]

NETWORK: Final[Mapping[str, tuple[float, float, str]]] = {
    "reset": (0.0, 0.2, "the TCP connection is reset"),
    "half open": (2.0, 40.0, "the TCP connection is forgotten on the way: nothing passes, nobody is told"),
    "late answers": (0.5, 8.0, "nothing comes back for a while: acknowledgements are late"),
    "lost answers": (0.3, 3.0, "what the service answers is swallowed, then the connection is reset"),
    "away": (2.0, 30.0, "the service cannot be reached: every connection is refused"),
    "takeover": (0.2, 1.0, "somebody else connects with the client id"),
    "slow handler": (1.0, 5.0, "the device's handler takes its time"),
    "kill": (0.3, 2.0, "the handler takes its time, then the process is killed with -9, and started again"),
    "kill offline": (1.0, 6.0, "the service cannot be reached, the process is killed with -9, and started again"),
}
"""Kinds that any service can meet: shortest and longest time in seconds, and what happens."""

PROTOCOL: Final[Mapping[str, tuple[float, float, str]]] = {
    "lost PUBACK": (0.5, 3.0, "PUBACKs are not sent; later the connection is reset"),
    "late PUBACK": (0.5, 3.0, "PUBACKs are sent later"),
    "lost CONNACK": (0.5, 1.0, "the connection is reset, and the next CONNECT is never answered"),
    "refusal": (0.2, 1.0, "the connection is reset, and the next CONNECT refused"),
    "throttled": (0.5, 3.0, "publishes are thrown away as being over the rate; later the connection is reset"),
    "token expired": (0.2, 1.0, "the token is no longer good, and the connection is reset"),
    "time to live": (0.2, 1.0, "the service ends the connection, as after disconnectAfterInSeconds"),
    "authorizer down": (1.0, 5.0, "the connection is reset, and the authorizer function fails"),
}
"""Kinds that need a service of ours."""

REFUSALS: Final = (0x87, 0x88, 0x97)
"""Not authorized, server unavailable, quota exceeded."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one device.

    at, seconds: when, from the start of the run, and how long. count: how many packets, where packets are concerned.
    told: afterwards the device is told that the network is back, as a modem's manager would.
    """

    at: float
    lane: str
    kind: str
    seconds: float
    count: int
    reason_code: int
    told: bool


def kinds_of(service: Service) -> tuple[str, ...]:
    """Return the kinds of fault that a service can meet."""
    return (*NETWORK, *PROTOCOL) if service == "endpoint" else tuple(NETWORK)


def make_schedule(
    seed: int, lanes: Mapping[str, Service], *, seconds: float, per_lane: int, longest: float, always_told: bool
) -> tuple[Fault, ...]:
    """Return the faults of a run in the order of time.

    lanes: names of the devices and whom they talk to. seconds: within which all faults are over. longest: no single
    fault takes longer. Raises ValueError if there is no room for so many.
    """
    chosen: list[Fault] = []
    services: dict[Service, list[str]] = {}
    for lane, service in lanes.items():
        services.setdefault(service, []).append(lane)
    for service, names in services.items():
        draw = random.Random(f"{seed}/{service}")
        dealt = _deal(draw, kinds_of(service), len(names) * per_lane)
        for place, lane in enumerate(names):
            kinds = dealt[place :: len(names)]
            chosen += _in_time(random.Random(f"{seed}/{lane}"), lane, kinds, seconds, longest, always_told=always_told)
    return tuple(sorted(chosen, key=lambda fault: (fault.at, fault.lane)))


def _deal(draw: random.Random, kinds: Sequence[str], count: int) -> list[str]:
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += draw.sample(kinds, len(kinds))
    return dealt[:count]


def _in_time(
    draw: random.Random, lane: str, kinds: Sequence[str], seconds: float, longest: float, *, always_told: bool
) -> list[Fault]:
    table = NETWORK | PROTOCOL
    lengths = [min(draw.uniform(*table[kind][:2]), longest) for kind in kinds]
    weights = [draw.uniform(0.5, 1.5) for _ in kinds]
    free = seconds - sum(lengths)
    if free < 0.5 * len(kinds):
        raise ValueError(f"{len(kinds)} faults of {sum(lengths):.0f} s do not fit into {seconds:.0f} s")
    faults: list[Fault] = []
    now = 0.0
    for kind, length, weight in zip(kinds, lengths, weights, strict=True):
        now += free * weight / sum(weights)
        faults.append(
            Fault(
                at=now,
                lane=lane,
                kind=kind,
                seconds=length,
                count=draw.randint(1, 5),
                reason_code=draw.choice(REFUSALS),
                told=draw.random() < 0.7 or always_told,
            )
        )
        now += length
    return faults
