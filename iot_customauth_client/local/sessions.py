"""The sessions of all client ids: how they begin, are kept while the client is away, and end; and their wills.

    open (new or resumed) -> connected -> leave -> kept -> open
                                            |        '---> ended: expired, clean start, other version ...
                                            '-> ended, if its expiry is 0

A session lives on for its expiry after its connection ended. MQTT 5 asks for it in seconds and gets no more than the
maximum; MQTT 3.1.1 asks for it with clean session 0 and gets the maximum (AWS page "MQTT": 1 h, for some accounts up
to 7 days). The service may keep a session for up to 30 minutes longer: `Choices.session_overtime_seconds`.

A will is due when the connection has ended, or after its Will Delay Interval, but no later than the session's end;
a client that resumes its session before that takes it back (MQTT 5, section 3.1.3.2.2). AWS does not say whether the
service knows that delay: see `Choices.will_delay`.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from ..limits import DEFAULT_SESSION_EXPIRY_SECONDS
from .agenda import Agenda
from .choices import DEFAULT_CHOICES, Choices
from .codec import Connect, Property, Version, Will
from .effects import Effect, Happened
from .events import SessionEnded
from .holdings import Holdings
from .live_connection import LiveConnection, number_of
from .moment import Moment
from .outbound import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, Outbound
from .router import Router
from .session import LastWill, Session, will_size

MAX_KEPT_SESSIONS: Final = 10_000
"""Sessions without a connection; one more ends the one that has been left longest. Our own bound."""

_EXPLANATIONS: Final = {
    "expired": "its client did not come back within {seconds} s",
    "clean_start": "its client began a new one (clean start)",
    "other_version": "its client came back with the other version of MQTT, which cannot resume it",
    "disconnect": "its client set the session expiry to 0 when it disconnected",
    "deleted": "the user of the local endpoint deleted it",
    "too_many": "too many sessions were kept, and it was the one that was left first",
}


class Sessions:
    """All sessions.

    max_expiry_seconds: the account's "persistent session expiry period".
    """

    __slots__ = (
        "_agenda",
        "_by_client_id",
        "_choices",
        "_holdings",
        "_kept",
        "_max_bytes",
        "_max_kept",
        "_max_messages",
        "_router",
        "_wills",
        "max_expiry_seconds",
    )

    def __init__(
        self,
        router: Router,
        agenda: Agenda,
        *,
        max_expiry_seconds: int = DEFAULT_SESSION_EXPIRY_SECONDS,
        choices: Choices = DEFAULT_CHOICES,
        max_kept: int = MAX_KEPT_SESSIONS,
        max_messages: int = MAX_QUEUED_MESSAGES,
        max_bytes: int = MAX_QUEUED_BYTES,
        holdings: Holdings | None = None,
    ) -> None:
        self.max_expiry_seconds: Final = max_expiry_seconds
        self._router = router
        self._agenda = agenda
        self._choices = choices
        self._max_kept = max_kept
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._holdings = Holdings() if holdings is None else holdings
        self._by_client_id: dict[str, Session] = {}
        self._kept: dict[Session, None] = {}
        self._wills: deque[LastWill] = deque()

    def get(self, client_id: str) -> Session | None:
        """Return the session of a client id, connected or kept."""
        return self._by_client_id.get(client_id)

    def granted_expiry(self, packet: Connect) -> int:
        """Return the session expiry, in seconds, that a CONNECT gets.

        An assigned client id cannot connect again, so its session ends with its connection, whatever was asked.
        """
        if not packet.client_id:
            return 0
        if packet.version is Version.MQTT5:
            asked = number_of(packet, Property.SESSION_EXPIRY_INTERVAL) or 0
            return min(asked, self.max_expiry_seconds)
        return 0 if packet.clean_start else self.max_expiry_seconds

    def open(self, packet: Connect, client_id: str, expiry_seconds: int, effects: list[Effect]) -> tuple[Session, bool]:
        """Resume the session of a client id, which must not be connected, or begin one; tell whether it was resumed."""
        session = self._by_client_id.get(client_id)
        if session is not None:
            if packet.clean_start:
                self.end(session, "clean_start", effects)
            elif session.version is not packet.version:
                self.end(session, "other_version", effects)
            else:
                self.take_back_will(session)
                self._stop_ending(session)
                session.expiry_seconds = expiry_seconds
                return session, True
        outbound = Outbound(
            max_messages=self._max_messages,
            max_bytes=self._max_bytes,
            keep_packet_ids=self._choices.packet_id_sent_again == "same",
            holdings=self._holdings,
        )
        session = Session(client_id, packet.version, expiry_seconds=expiry_seconds, outbound=outbound)
        self._by_client_id[client_id] = session
        return session, False

    def set_expiry(self, session: Session, expiry_seconds: int) -> None:
        """Change how long a session is kept, from its client's DISCONNECT."""
        session.expiry_seconds = min(expiry_seconds, self.max_expiry_seconds)

    def has_room_for_will(self, client_id: str, will: Will) -> bool:
        """Tell whether a CONNECT may bring this will, which takes the place of the last one of the same client id."""
        session = self._by_client_id.get(client_id)
        replaced = 0
        if session is not None and session.connection is not None:
            replaced = session.connection.will_size
        elif session is not None and session.will is not None:
            replaced = session.will.size
        return self._holdings.has_room_for_will(will_size(will) - replaced)

    def enter(self, live: LiveConnection) -> None:
        """Take in the connection of a session that was opened."""
        live.session.connection = live
        self._holdings.will_bytes += live.will_size

    def leave(self, live: LiveConnection, moment: Moment, effects: list[Effect], *, cause: str | None = None) -> None:
        """Keep a session whose connection ended, or end it.

        cause: of the end of a session that was to be kept, but is not any more; a key of `SessionEnded.cause`.
        """
        session = live.session
        session.connection = None
        deliveries = self._router.suspend(session, effects)
        self._holdings.will_bytes -= live.will_size
        if live.will is not None:
            session.will = LastWill(live.number, live.client_id, live.will)
            self._holdings.will_bytes += session.will.size
        if not session.expiry_seconds or cause is not None:
            self.end(session, cause, effects)
        else:
            self._keep(session, moment, effects)
        self._router.give_back(deliveries, moment, effects)

    def end(self, session: Session, cause: str | None, effects: list[Effect]) -> None:
        """End a session without a connection. With a cause it is reported: somebody could have come back to it."""
        self._stop_ending(session)
        self._release_will(session)
        del self._by_client_id[session.client_id]
        if cause is not None:
            explanation = _EXPLANATIONS[cause].format(seconds=session.expiry_seconds)
            effects.append(Happened(SessionEnded(session.client_id, cause, explanation)))
        self._router.forget(session, effects)
        session.outbound.end()

    def take_back_will(self, session: Session) -> None:
        """Forget the will of a session whose client is away: it will not be published."""
        if session.will is not None:
            self._holdings.will_bytes -= session.will.size
            session.will = None
        if session.will_due is not None:
            session.will_due.cancel()
            session.will_due = None

    def take_wills(self) -> Iterator[LastWill]:
        """Take out the wills that are due, including those that become due meanwhile."""
        while self._wills:
            yield self._wills.popleft()

    def sizes(self) -> dict[str, int]:
        """Count what is held."""
        return {
            "sessions": len(self._by_client_id),
            "kept_sessions": len(self._kept),
            "held_bytes": self._holdings.held_bytes,
            "flying_bytes": self._holdings.flying_bytes,
            "will_bytes": self._holdings.will_bytes,
            "wills_due": len(self._wills),
            "in_flight": sum(session.outbound.in_flight for session in self._by_client_id.values()),
            "queued": sum(session.outbound.queued for session in self._by_client_id.values()),
        }

    # -- while the client is away -----------------------------------------------------------------------------------

    def _keep(self, session: Session, moment: Moment, effects: list[Effect]) -> None:
        def expire(moment: Moment, effects: list[Effect]) -> None:
            del moment
            self.end(session, "expired", effects)

        def release_will(moment: Moment, effects: list[Effect]) -> None:
            del moment, effects
            self._release_will(session)

        honoured = self._choices.will_delay == "honoured"
        delay = _will_delay(session.will.will) if session.will is not None and honoured else 0
        if not delay:
            self._release_will(session)
        elif delay < session.expiry_seconds:
            session.will_due = self._agenda.plan(moment.at + delay, release_will)
        kept_seconds = session.expiry_seconds + self._choices.session_overtime_seconds
        session.ending = self._agenda.plan(moment.at + kept_seconds, expire)
        self._kept[session] = None
        if len(self._kept) > self._max_kept:
            self.end(next(iter(self._kept)), "too_many", effects)

    def _stop_ending(self, session: Session) -> None:
        self._kept.pop(session, None)
        if session.ending is not None:
            session.ending.cancel()
            session.ending = None

    def _release_will(self, session: Session) -> None:
        if session.will is not None:
            self._wills.append(session.will)
        self.take_back_will(session)


def _will_delay(will: Will) -> int:
    delay = will.properties.get(Property.WILL_DELAY_INTERVAL)
    return delay if isinstance(delay, int) else 0
