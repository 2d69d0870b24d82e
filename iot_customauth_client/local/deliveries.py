"""One message to one session: may it, now, and does it fit; or is it stored until the client comes back.

Each delivery needs `iot:Receive`, asked when it is sent: by the grant of the connection that it is sent on, so what
was stored is decided by the grant that its client came back with. A denied one is left out and reported, and the
connection stays (AWS page "AWS IoT Core policy actions").

What is stored for a client that is away: QoS 1 only, in order, up to the bounds of `Outbound`; what comes past them
is dropped, as the service does it. A connected client over them is disconnected instead (THROTTLED, code 151), since
it would never notice.
"""

from ..limits import (
    MAX_BYTES_PER_SECOND_PER_CONNECTION,
    MAX_PUBLISHES_PER_SECOND_PER_CONNECTION,
    MAX_RETRY_SECONDS,
    PUBLISHES_PER_SECOND,
    QUEUED_MESSAGES_PER_SECOND,
    STORED_MESSAGES_PER_SECOND,
)
from .agenda import Agenda
from .choices import Choices
from .codec import NO_PROPERTIES, Publish, ReasonCode
from .codec.packet_types import MQTT5
from .effects import Effect, Happened
from .events import Decided, Delivered, Dropped, Queued
from .live_connection import LiveConnection
from .message import Message
from .moment import Moment
from .offence import DisconnectReason, Offence
from .outbound import Delivery
from .permissions import RECEIVE
from .post import Post
from .quotas import AccountQuotas, Rate
from .session import Session, Subscription


class Deliveries:
    """Delivers to sessions. Appends what is to be done to the list of effects it is given."""

    __slots__ = ("_agenda", "_choices", "_forbidden", "_overflowed", "_post", "_quotas")

    def __init__(self, post: Post, agenda: Agenda, *, quotas: AccountQuotas | None, choices: Choices) -> None:
        self._post = post
        self._agenda = agenda
        self._quotas = quotas
        self._choices = choices
        self._overflowed: list[LiveConnection] = []
        self._forbidden: list[tuple[LiveConnection, Offence]] = []

    def deliver(self, subscription: Subscription, delivery: Delivery, moment: Moment, effects: list[Effect]) -> bool:
        """Deliver a message, or store it; False if the client may not receive it."""
        session, message = subscription.session, delivery.message
        live = session.connection
        qos = min(message.qos, subscription.qos)
        if live is None:
            if qos:
                self._store(subscription, delivery, moment, effects)
            return True
        if not self._may_receive(live, message, effects):
            return False
        if not qos:
            self._send(live, delivery, None, moment, effects)
        elif (
            not live.overflowed
            and session.outbound.ready
            and (packet_id := session.outbound.send_at_once(delivery, moment.at)) is not None
        ):
            if not self._send(live, delivery, packet_id, moment, effects):
                session.outbound.acknowledge(packet_id)
        elif not live.overflowed and self._offer(session, delivery, moment, effects):
            self.send_waiting(session, moment, effects)
        else:
            explanation = f"{session.outbound.queued} messages wait for the client, which is all that is kept for one"
            effects.append(dropped(live.number, session.client_id, message, "queue_full", explanation))
            if not live.overflowed:
                live.overflowed = True
                self._overflowed.append(live)
        return True

    def resume(self, session: Session, receive_maximum: int, moment: Moment, effects: list[Effect]) -> None:
        """Send what was stored; with the service's rates as slowly as they say."""
        self._give_up_old(session, moment, effects)
        session.outbound.resume(receive_maximum)
        session.pace = None if self._quotas is None else Rate(STORED_MESSAGES_PER_SECOND)
        self.send_waiting(session, moment, effects)

    def suspend(self, session: Session, effects: list[Effect]) -> list[Delivery]:
        """Store from now on; returns the deliveries that are for others (see `Outbound.suspend`)."""
        if session.resumption is not None:
            session.resumption.cancel()
            session.resumption = None
        shared = session.outbound.suspend()
        if session.expiry_seconds:  # else it ends at once, with all it has
            over = session.outbound.shed()
            effects.extend(dropped(None, session.client_id, each.message, "queue_full", _HELD) for each in over)
        return shared

    def send_waiting(self, session: Session, moment: Moment, effects: list[Effect]) -> None:
        """Send what waits, as far as window and rate let it."""
        outbound, live = session.outbound, session.connection
        while outbound.queued and live is not None and outbound.window_open:
            if outbound.is_too_old(moment.at - MAX_RETRY_SECONDS):  # it has waited for the window since the resumption
                self._give_up_old(session, moment, effects)
            # Without a rate nothing overtakes what was stored; with it, other traffic goes on (AWS page "MQTT").
            stored = outbound.has_stored and not self._is_held_back(session, live, moment)
            taken = outbound.take_stored(moment.at) if stored else outbound.take(moment.at)
            if taken is None:
                return
            packet_id, delivery = taken
            if not (
                self._may_receive(live, delivery.message, effects)
                and self._send(live, delivery, packet_id, moment, effects)
            ):
                outbound.acknowledge(packet_id)

    def take_overflowed(self) -> list[LiveConnection]:
        """Return the clients whose queue has become full since the last call."""
        overflowed, self._overflowed = self._overflowed, []
        return overflowed

    def take_forbidden(self) -> list[tuple[LiveConnection, Offence]]:
        """Return the clients that `Choices.denied_delivery` ends, since the last call."""
        forbidden, self._forbidden = self._forbidden, []
        return forbidden

    @property
    def overflowed(self) -> int:
        """How many clients are to be ended because their queue is full."""
        return len(self._overflowed)

    @property
    def delayed_bytes(self) -> int:
        """How much waits for the throughput of clients."""
        return 0 if self._quotas is None else self._quotas.delayed_bytes

    # -- one delivery ---------------------------------------------------------------------------------------------

    def _give_up_old(self, session: Session, moment: Moment, effects: list[Effect]) -> None:
        number = session.connection.number if session.connection else None
        old = session.outbound.give_up(moment.at - MAX_RETRY_SECONDS)
        effects.extend(
            dropped(number, session.client_id, each.message, "unacknowledged", _UNACKNOWLEDGED) for each in old
        )

    def _is_held_back(self, session: Session, live: LiveConnection, moment: Moment) -> bool:
        """Tell whether the rate of stored messages is used up; then plan to go on."""
        pace = session.pace
        if pace is None:
            return False
        if session.resumption is not None and session.resumption.pending:
            return True
        within = live.quotas is None or live.quotas.publishes_out.allows(moment.now)
        if within and pace.take(moment.at):
            return False
        # Held back by the other rate, which runs on the other clock: one window of this one is as good as any.
        when = pace.next_window(moment.at) if within else moment.at + 1.0

        def go_on(moment: Moment, effects: list[Effect]) -> None:
            session.resumption = None
            self.send_waiting(session, moment, effects)

        session.resumption = self._agenda.plan(when, go_on)
        return True

    def _may_receive(self, live: LiveConnection, message: Message, effects: list[Effect]) -> bool:
        decision = live.permissions.decide(RECEIVE, message.topic)
        if not decision.allowed:
            denied = Decided(
                live.number, live.client_id, decision.action, decision.resource, False, decision.explanation
            )
            effects.append(Happened(denied))
            if self._choices.denied_delivery == "disconnect":
                explanation = f"receive from {message.topic!r} is not allowed: {decision.explanation}"
                offence = Offence(ReasonCode.NOT_AUTHORIZED, explanation, DisconnectReason.AUTH_ERROR)
                self._forbidden.append((live, offence))
        return decision.allowed

    def _offer(self, session: Session, delivery: Delivery, moment: Moment, effects: list[Effect]) -> bool:
        if session.outbound.offer(delivery):
            return True
        number = session.connection.number if session.connection else None
        purged = session.outbound.purge(moment.at)
        effects.extend(dropped(number, session.client_id, each.message, "expired", _EXPIRED) for each in purged)
        return bool(purged) and session.outbound.offer(delivery)

    def _store(self, subscription: Subscription, delivery: Delivery, moment: Moment, effects: list[Effect]) -> None:
        session, message = subscription.session, delivery.message
        if self._quotas is not None and not self._quotas.queued.take(moment.now):
            effects.append(dropped(None, session.client_id, message, "queue_rate", QUEUE_RATE))
            return
        if self._offer(session, delivery, moment, effects):
            event = Queued(session.client_id, subscription.topic_filter, message.topic, message.payload)
            effects.append(Happened(event))
            return
        explanation = f"the client is away, and {session.outbound.queued} messages are stored for it, which is all"
        effects.append(dropped(None, session.client_id, message, "queue_full", explanation))

    def _send(
        self, live: LiveConnection, delivery: Delivery, packet_id: int | None, moment: Moment, effects: list[Effect]
    ) -> bool:
        """Send one PUBLISH; False if it was given up, and counts as sent."""
        message = delivery.message
        qos = 0 if packet_id is None else 1
        properties = message.properties
        if live.version is not MQTT5:
            properties = NO_PROPERTIES
        elif message.expires_at is not None:
            properties = message.properties_at(moment.at)
        packet = Publish(message.topic, message.payload, qos, delivery.retain, False, packet_id, properties)
        if message.expires_at is not None and message.expired(moment.at):
            effects.append(dropped(live.number, live.client_id, message, "expired", _EXPIRED))
            return False
        if live.max_packet_bytes is not None and not live.fits(packet):  # MQTT-3.1.2-25
            explanation = f"the packet is larger than the client's Maximum Packet Size of {live.max_packet_bytes} bytes"
            effects.append(dropped(live.number, live.client_id, message, "too_large", explanation))
            return False
        if live.quotas is not None and not qos and live.quotas.full:
            explanation = (
                f"{live.quotas.delayed_bytes:,} bytes wait for the client, and {live.quotas.account.delayed_bytes:,} "
                f"for all clients: each is sent no more than {MAX_BYTES_PER_SECOND_PER_CONNECTION:,} in a second, AWS "
                "IoT Core's rate"
            )
            effects.append(dropped(live.number, live.client_id, message, "delivery_rate", explanation))
            return False
        if live.quotas is not None and not live.quotas.publishes_out.take(moment.now):
            explanation = (
                f"{MAX_PUBLISHES_PER_SECOND_PER_CONNECTION} messages went to the client within this second, or "
                f"{PUBLISHES_PER_SECOND:,} to all clients, which are AWS IoT Core's rates"
            )
            effects.append(dropped(live.number, live.client_id, message, "delivery_rate", explanation))
            return False
        expiring = None if message.expires_at is None else message
        self._post.send(live, packet, moment, effects, topics=(message.topic,), expiring=expiring)
        effects.append(
            Happened(Delivered(live.number, live.client_id, message.topic, message.payload, qos, delivery.retain))
        )
        return True


QUEUE_RATE = (
    f"{QUEUED_MESSAGES_PER_SECOND} messages were stored within this second for clients that are away, which is AWS IoT "
    "Core's rate for an account that has not asked for more"
)
_UNACKNOWLEDGED = (
    f"it was sent first more than {MAX_RETRY_SECONDS} s ago and never acknowledged: it is not sent again, as AWS IoT "
    "Core gives up after that time"
)
_HELD = "the client left without acknowledging it, and for all clients together as much is stored as the endpoint keeps"
_EXPIRED = "its message expiry passed before it could be sent"


def dropped(connection: int | None, client_id: str, message: Message, cause: str, explanation: str) -> Happened:
    """Return the report that a message is given up."""
    return Happened(Dropped(connection, client_id, message.topic, message.payload, cause, explanation))
