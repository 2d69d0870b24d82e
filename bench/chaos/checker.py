"""What was promised, what arrived: the verdict. Pure, and the heart of the run: it must never miss a loss.

Messages have numbers. A device numbers what it publishes upwards from 0 over all its processes, in the order in which
it hands the messages over; the service does the same with what it sends to the device. A verdict looks at one direction
of one device:

- **lost**: a number that was promised and never arrived. What makes a promise is said by whoever fills in `Stream`.
- **repeated**: every arrival of a number after its first. QoS 1 allows it; it is counted.
- **reordered**: a number whose *first* arrival comes after the first arrival of a greater one. A repetition is never
  out of order: after a reconnect the unacknowledged messages go again, in their order. Excused are only numbers that
  the service is known to have received and thrown away (throttling): what followed them on the same connection was
  received, they come again.
- **invented**: a number that nobody ever handed over.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stream:
    """One direction of one device.

    promised: numbers that must arrive, each once. arrived: numbers in the order of arrival, each time. offered: how
    many numbers were used, 0 to `offered - 1`. excused: numbers that the service threw away once.
    """

    promised: Collection[int]
    arrived: Sequence[int]
    offered: int
    excused: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the messages; verdicts can be added."""

    promised: int = 0
    arrived: int = 0
    repeated: int = 0
    lost: tuple[int, ...] = ()
    reordered: tuple[int, ...] = ()
    invented: tuple[int, ...] = ()

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.promised + other.promised,
            self.arrived + other.arrived,
            self.repeated + other.repeated,
            self.lost + other.lost,
            self.reordered + other.reordered,
            self.invented + other.invented,
        )

    @property
    def good(self) -> bool:
        """Nothing is lost, out of order or invented, and something was promised at all."""
        return bool(self.promised) and not (self.lost or self.reordered or self.invented)


def judge(stream: Stream) -> Verdict:
    """Compare what was promised with what arrived. Takes a byte for each number: there may be millions."""
    seen = bytearray(stream.offered)
    excused = frozenset(stream.excused)
    reordered: list[int] = []
    invented: set[int] = set()
    arrived = 0
    greatest = -1
    for number in stream.arrived:
        if not 0 <= number < stream.offered:
            invented.add(number)  # it says nothing about the order of the others
            continue
        if seen[number]:
            continue
        seen[number] = 1
        arrived += 1
        if number > greatest:
            greatest = number
        elif number not in excused:
            reordered.append(number)
    lost = {number for number in stream.promised if not (0 <= number < stream.offered and seen[number])}
    return Verdict(
        promised=len(stream.promised),
        arrived=arrived,
        repeated=len(stream.arrived) - arrived - len(invented),
        lost=tuple(sorted(lost)),
        reordered=tuple(reordered),
        invented=tuple(sorted(invented)),
    )


@dataclass(slots=True)
class Book:
    """The book of one device, filled in while it runs: from many threads, so every entry is one atomic call.

    handed: its publish() returned. stored, acknowledged: what the library promised. failed: the library told the
    device that this message will not arrive, or may not have. discarded: the service threw it away.
    """

    offered_up: int = 0
    offered_down: int = 0
    handed: set[int] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    discarded: set[int] = field(default_factory=set)
    arrived: array[int] = field(default_factory=lambda: array("q"))
    accepted: set[int] = field(default_factory=set)
    handled: array[int] = field(default_factory=lambda: array("q"))

    def upwards(self, *, durable: bool) -> Stream:
        """Return what was promised on the way to the service.

        durable: the device's library promises: what it has *stored* or *acknowledged* must arrive, whatever it says
        later. Otherwise there is no such promise, and its user goes by what there is: publish() took the message, and
        nobody told of a failure later.
        """
        promised = self.stored | self.acknowledged if durable else (self.handed - self.failed) | self.acknowledged
        return Stream(promised, array("q", self.arrived), self.offered_up, frozenset(self.discarded))

    def downwards(self) -> Stream:
        """Return what was promised on the way to the device: all that the service accepted for it."""
        return Stream(frozenset(self.accepted), array("q", self.handled), self.offered_down)


def total(verdicts: Iterable[Verdict]) -> Verdict:
    """Add verdicts up."""
    return sum(verdicts, Verdict())
