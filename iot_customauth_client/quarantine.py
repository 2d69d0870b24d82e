"""Which message or subscription makes the service hang up: found by what the ends of connections have in common.

A publish or a subscription that the policy does not allow ends the connection: with MQTT 3.1.1 always, by a hang-up
without a word; with MQTT 5 it is told by a reason code, except for messages with QoS 0. A client that just reconnects
and sends the same again is thrown out for ever. But networks hang up too, so one end proves nothing.

The rules
---------
*Suspects* of an end are what was sent within its last five seconds and not answered. An end that is explained by
something else (a takeover, a time-out, our own DISCONNECT) has none. Then:

1. *alone, twice*: who is the only suspect, and was a suspect of the end before as well, is guilty;
2. *one at a time*: if several are suspects for the second time in a row, the next connection sends one thing at a
   time until they are through (`narrow`). Whoever is innocent gets its answer; the guilty one is alone at the next end;
3. *known already*: a topic or filter that was found guilty within ten minutes, under the same credentials, is guilty
   at once when it is the only suspect.

So a lone message costs two connections, one among many costs three, and a network that drops the connection costs
nothing, as long as it does not do so three times in a row within five seconds of sending, the third time on the
very message that waits alone. What was sent with QoS 0 cannot be sent again: there the topic is what is suspected,
and only its messages of the last seconds count. If after four ends in a row several topics of QoS 0 cannot be told
apart, all of them are found guilty: they carry messages that may get lost anyway.

Pure: no clock, no socket, no message. The session collects suspects, and fails who is guilty with `PolicyDenied`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Action = Literal["iot:Publish", "iot:Subscribe"]

SUSPECT_SECONDS: Final = 5.0
"""The service hangs up at once; who has waited longer than this for an answer is not why."""
_GUILTY_SECONDS: Final = 600.0
_IN_A_ROW: Final = 2
_CANNOT_TELL: Final = 4


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something that was sent and not answered. `key` tells it from others; for QoS 0 it is the topic."""

    key: Hashable
    action: Action
    topic: str
    qos: int = 1


class Quarantine:
    """Compares the ends of one session's connections. Not thread-safe: for one owner."""

    def __init__(self) -> None:
        self._ends: dict[Hashable, int] = {}
        self._guilty: dict[tuple[Action, str], float] = {}
        self._narrow = False

    @property
    def narrow(self) -> bool:
        """Whether the next connection should send one thing at a time."""
        return self._narrow

    def cleared(self) -> None:
        """Nobody is suspected any more: what was suspected has been answered, or the end was explained."""
        self._ends = {}
        self._narrow = False

    def pardon(self) -> None:
        """Forget who was found guilty: other credentials may bring another policy."""
        self._guilty = {}
        self.cleared()

    def ended(self, suspects: Sequence[Suspect], now: float) -> tuple[Suspect, ...]:
        """Count an end that nothing else explains, at a monotonic time; return who is guilty."""
        self._guilty = {each: at for each, at in self._guilty.items() if now - at < _GUILTY_SECONDS}
        by_key = {each.key: each for each in suspects}
        self._ends = {key: self._ends.get(key, 0) + 1 for key in by_key}
        guilty = self._verdict(list(by_key.values()))
        for each in guilty:
            self._guilty[each.action, each.topic] = now
            self._ends.pop(each.key, None)
        again = [key for key, times in self._ends.items() if times >= _IN_A_ROW]
        self._narrow = not guilty and (self._narrow or bool(again)) and bool(by_key)
        return guilty

    def _verdict(self, suspects: list[Suspect]) -> tuple[Suspect, ...]:
        if len(suspects) == 1:
            (only,) = suspects
            known = (only.action, only.topic) in self._guilty
            return (only,) if known or self._ends[only.key] >= _IN_A_ROW else ()
        unsure = [each for each in suspects if self._ends[each.key] >= _CANNOT_TELL]
        if unsure and all(each.qos == 0 for each in unsure):
            return tuple(unsure)
        return ()
