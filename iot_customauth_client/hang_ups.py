"""What a connection that the service ended had been asked for, and what follows from that: the quarantine's hands.

`quarantine.py` decides who is guilty; this looks for suspects in outbox and subscriptions, fails who is guilty, and
has the next connection send one thing at a time where that is needed. All methods run on the session's `Serial`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final

from .errors import PolicyDenied
from .limits import MAX_IN_FLIGHT
from .links.base import Accepted, Link, LinkEnd
from .one_at_a_time import OneAtATime
from .outgoing import Outgoing
from .quarantine import SUSPECT_SECONDS, EndKind, Quarantine, Suspect, qos0_suspect_seconds
from .timers import Timers

if TYPE_CHECKING:
    from .clock import Clock
    from .outbox import Outbox
    from .runtime import Runtime
    from .subscribing import Subscribing
    from .workers import Serial

_LOOK_SECONDS: Final = 0.05
_BARRED_SECONDS: Final = 600.0
_HUNG_UP: Final = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
"""awscrt's name for an end in good order: TLS itself was closed (close_notify), which no network can forge."""
_CUT: Final = frozenset({"AWS_IO_SOCKET_CLOSED", None})
"""The TCP connection ended by FIN or RST in the middle of TLS: mostly the network, or a proxy on the way."""
_CAUSED_BY_PACKET: Final = frozenset({0x81, 0x82, 0x87, 0x90, 0x95, 0x99, 0x9A, 0x9B})
"""Reason codes of DISCONNECT that a packet of ours may be the cause of (MQTT 5, section 3.14.2.1)."""

_log = logging.getLogger("iot_customauth_client.session")


class HangUps:
    """Attaches outbox and subscriptions to a link, and learns from its end."""

    def __init__(
        self,
        outbox: Outbox,
        subscribing: Subscribing,
        *,
        client_id: str | None,
        clock: Clock,
        runtime: Runtime,
        serial: Serial,
    ) -> None:
        self._outbox = outbox
        self._subscribing = subscribing
        self._client_id = client_id
        self._clock = clock
        self._runtime = runtime
        self._quarantine = Quarantine()
        self._timers: Timers[HangUps] = Timers(self, serial)
        self._link: Link | None = None
        self._attached_at = -math.inf
        self._qos0_seconds = qos0_suspect_seconds(0.0)
        self._singly: OneAtATime | None = None
        self._window = MAX_IN_FLIGHT
        self._watched: tuple[Outgoing, ...] = ()
        self._convicted: tuple[tuple[Suspect, Outgoing | None], ...] = ()

    @property
    def must_forget(self) -> bool:
        """Whether the next connection needs a native object that sends nothing again by itself."""
        return self._quarantine.narrow or bool(self._convicted)

    def attach(self, link: Link, accepted: Accepted, *, connect_seconds: float) -> None:
        """Send and subscribe over this link: as much as it takes, or one thing at a time."""
        self._qos0_seconds = qos0_suspect_seconds(connect_seconds)
        self._link = link
        self._attached_at = self._clock.monotonic()
        self._window = min(MAX_IN_FLIGHT, accepted.receive_maximum or MAX_IN_FLIGHT)
        if not self._quarantine.narrow:
            self._subscribing.attach(link, session_present=accepted.session_present)
            self._outbox.attach(link, self._window)
            return
        self._singly = OneAtATime(link)
        self._subscribing.attach(self._singly, session_present=accepted.session_present)
        self._look()

    def detach(self, *, keep_in_flight: bool) -> None:
        """The link is gone, on purpose or not."""
        self._timers.cancel("look")
        self._link = self._singly = None
        self._outbox.detach(keep_in_flight=keep_in_flight)
        self._subscribing.detach()

    def pardon(self) -> None:
        """Other credentials are in use: what was denied may be allowed now."""
        self._quarantine.pardon()
        self._outbox.unbar()

    # -- the end of a connection --------------------------------------------------------------------------------------

    def unanswered(self) -> tuple[str, ...]:
        """Return what the service was asked and has not answered, as causes for a person."""
        filters = self._filters()
        causes = [f"the policy does not allow iot:Subscribe on topicfilter/{each}" for each in filters]
        topics = dict.fromkeys(entry.topic for entry in self._outbox.suspects())
        causes += [f"the policy does not allow iot:Publish on topic/{topic}" for topic in topics]
        return tuple(causes)

    def ended(self, end: LinkEnd) -> None:
        """Learn from the end of a connection, before `detach`; call `convict` with what it returns after that."""
        reason_codes = self._link is not None and self._link.capabilities.reason_codes
        if not _could_be_a_packet(end, reason_codes=reason_codes):
            self._convicted = ()
            if end.reason_code is not None:
                self._quarantine.cleared()  # it says what it was
            return
        now = self._clock.monotonic()
        # By number: the address of an entry that has ended may soon be that of another one.
        recent = (entry for entry in self._outbox.suspects() if self._is_recent(entry.sent_at, now))
        entries: dict[Hashable, Outgoing] = {("message", entry.number): entry for entry in recent}
        suspects = [Suspect(key, "iot:Publish", entry.topic) for key, entry in entries.items()]
        suspects += [Suspect(("filter", each), "iot:Subscribe", each) for each in self._filters()]
        for topic, sent_at in self._outbox.first_qos0():
            if now - sent_at <= self._qos0_seconds:
                suspects.append(Suspect(("qos0", topic), "iot:Publish", topic, qos=0))
        guilty = self._quarantine.ended(suspects, now, _end_kind(end))
        self._convicted = tuple((each, entries.get(each.key)) for each in guilty)

    def convict(self) -> None:
        """Fail who was found guilty; after `detach`, so that nothing guilty is in flight any more."""
        convicted, self._convicted = self._convicted, ()
        for suspect, entry in convicted:
            error = _denied(suspect, self._client_id)
            _log.error("quarantine: client_id=%s action=%s topic=%s", self._client_id, suspect.action, suspect.topic)
            if suspect.action == "iot:Subscribe":
                self._subscribing.refuse(suspect.topic, error)
                continue
            if entry is not None:
                self._outbox.reject(entry, error)
            self._outbox.bar(suspect.topic, error)
            for each in self._outbox.waiting():
                if each.topic == suspect.topic:
                    self._outbox.reject(each, error.copy())
            lift = _unbar(suspect.topic)
            self._timers.at(self._clock, self._clock.monotonic() + _BARRED_SECONDS, lift, "bars")

    def _is_recent(self, sent_at: float | None, now: float) -> bool:
        # A native object that sends again by itself does so with CONNACK, and the outbox does not see it.
        return sent_at is not None and now - max(sent_at, self._attached_at) <= SUSPECT_SECONDS

    def _filters(self) -> list[str]:
        if self._singly is not None:
            return [self._singly.asked] if self._singly.asked is not None else []
        return self._subscribing.unanswered()

    # -- one thing at a time ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """First the subscriptions, then message by message; then as usual again."""
        link, singly = self._link, self._singly
        if link is None:
            return
        if singly is not None and singly.idle:
            self._singly = None
            self._watched = self._outbox.waiting()[:MAX_IN_FLIGHT]
            self._outbox.attach(link, 1)
        elif singly is None and all(each.settled for each in self._watched):
            self._quarantine.got_through()
            self._outbox.pause()
            self._outbox.when_drained(self._timers.posting(HangUps._widen))
            return
        now = self._runtime.clock.monotonic()
        self._timers.at(self._runtime.clock, now + _LOOK_SECONDS, HangUps._look, "look")

    def _widen(self) -> None:
        if self._link is not None:
            self._outbox.attach(self._link, self._window)
        self._outbox.resume()


def _could_be_a_packet(end: LinkEnd, *, reason_codes: bool) -> bool:
    if end.by_us:
        return False
    if reason_codes:
        return end.reason_code in _CAUSED_BY_PACKET
    return end.error_name == _HUNG_UP or end.error_name in _CUT


def _end_kind(end: LinkEnd) -> EndKind:
    if end.reason_code is not None:
        return EndKind.SAID
    return EndKind.HUNG_UP if end.error_name == _HUNG_UP else EndKind.CUT


def _unbar(topic: str) -> Callable[[HangUps], None]:
    return lambda hang_ups: hang_ups._outbox.unbar(topic)


def _denied(suspect: Suspect, client_id: str | None) -> PolicyDenied:
    publish = suspect.action == "iot:Publish"
    resource = f"topic/{suspect.topic}" if publish else f"topicfilter/{suspect.topic}"
    what = f"the message to {suspect.topic!r}" if publish else f"the subscription to {suspect.topic!r}"
    return PolicyDenied(
        f"the service closed the connection every time after {what}",
        code="quarantined",
        action=suspect.action,
        topic=suspect.topic,
        client_id=client_id,
        phase="connected",
        likely_causes=(f"the authorizer's policy does not allow {suspect.action} on {resource}",),
        what_to_do=f"let the authorizer return a statement that allows it: ...:{resource}. Until then it is not tried "
        "again for ten minutes; the rest goes on",
    )
