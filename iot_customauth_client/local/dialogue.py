"""What a connected client says, packet by packet, and what it is answered.

A rule that the client breaks is raised as `Offence`, and the broker ends the connection; a single operation that is
refused is `RefusedOperation`, which MQTT 5 can answer in PUBACK or SUBACK. What leads to what (AWS page "MQTT" and
behaviour seen at the service; *choice* where nothing is known):

    refused                       MQTT 5                                   MQTT 3.1.1
    PUBLISH of QoS 1              PUBACK with the code                     hang up, no PUBACK
    PUBLISH of QoS 0              DISCONNECT with the code (`Choices`)     hang up
    a filter of SUBSCRIBE         SUBACK with the code at its place        hang up, no SUBACK (option: SUBACK 0x80)
    more than 8 filters           SUBACK 151 for each (choice)             hang up
    QoS 2 in PUBLISH              DISCONNECT 155                           hang up, no PUBREC
    QoS 2 in SUBSCRIBE            QoS 1 is granted (MQTT-3.2.2-10)         hang up, no SUBACK
    delivery not allowed          left out, the connection stays (`Choices`)  the same
    payload over 128 KiB          DISCONNECT 151 (choice of code)          hang up
    the 101st unacknowledged      DISCONNECT 147                           left out, no PUBACK
    PUBLISH over 100/s            left out; PUBACK 151 for QoS 1 (choice)  left out, no PUBACK
    No Local for $share/...       DISCONNECT 130 (MQTT-3.8.3-4)            (has none)

Each refusal is also a `decided` event, with the policy's explanation or with the rule that stood before the policy;
what is left out is a `dropped` event. The rates hold with `quotas="aws"` only.
"""

from typing import Final, Literal, NoReturn, TypeAlias

from ..errors import InvalidTopic
from ..limits import (
    MAX_FILTERS_PER_SUBSCRIBE,
    MAX_IN_FLIGHT,
    MAX_PAYLOAD_BYTES,
    MAX_PUBLISHES_PER_SECOND_PER_CONNECTION,
    MAX_QOS,
    MAX_SUBSCRIPTIONS_PER_CONNECTION,
    PUBLISHES_PER_SECOND,
    SUBSCRIPTIONS_PER_SECOND,
)
from ..topics import check_topic_filter
from .answers import Answers
from .choices import Choices
from .codec import (
    Connect,
    Packet,
    PingReq,
    PingResp,
    Property,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Version,
)
from .deliveries import dropped
from .effects import Effect, Happened
from .events import Decided, Published, Subscribed, Unsubscribed
from .faults import Faults, PacketName
from .lifecycle import Lifecycle
from .live_connection import LiveConnection
from .message import Message, too_many_user_properties
from .moment import Moment
from .offence import DisconnectReason, Offence, RefusedOperation, shorten
from .permissions import PUBLISH, RETAIN_PUBLISH, SUBSCRIBE
from .refusals import attempted, no_room_to_retain, not_allowed
from .router import Router
from .session import Subscription
from .topic_rules import check_publishable, check_response_topic, check_subscribable, is_shared

RefusedSubscribe311: TypeAlias = Literal["hang_up", "suback"]
"""What an MQTT 3.1.1 client gets for a refused filter: `hang_up` as seen at the service, or `suback` with 0x80."""

_FAILURE_311: Final = 0x80  # 3.1.1, section 3.9.3
_FAULTY: Final[dict[str, PacketName]] = {PUBLISH: "PUBLISH", SUBSCRIBE: "SUBSCRIBE"}


class Dialogue:
    """Takes the packets of connected clients, all but DISCONNECT, which is the broker's."""

    __slots__ = ("_answers", "_choices", "_faults", "_lifecycle", "_refused_subscribe_311", "_router")

    def __init__(
        self,
        router: Router,
        answers: Answers,
        faults: Faults,
        lifecycle: Lifecycle,
        *,
        refused_subscribe_311: RefusedSubscribe311,
        choices: Choices,
    ) -> None:
        self._router = router
        self._answers = answers
        self._faults = faults
        self._lifecycle = lifecycle
        self._refused_subscribe_311 = refused_subscribe_311
        self._choices = choices

    def hear(self, live: LiveConnection, packet: Packet, moment: Moment, effects: list[Effect]) -> None:
        """Take one packet. Raises `Offence` if the connection has to end."""
        match packet:
            case Publish():
                self._publish(live, packet, moment, effects)
            case PubAck():
                self._router.acknowledge(live, packet, moment, effects)
            case Subscribe():
                self._subscribe(live, packet, moment, effects)
            case Unsubscribe():
                self._unsubscribe(live, packet, moment, effects)
            case PingReq():
                self._answers.send(live, PingResp(), moment, effects)
            case Connect():
                raise Offence(ReasonCode.PROTOCOL_ERROR, "it sent a second CONNECT (MQTT-3.1.0-2)")
            case _:
                # QoS 2 and AUTH are not supported (AWS page "MQTT"); the others are for a server to send.
                raise Offence(
                    ReasonCode.PROTOCOL_ERROR,
                    f"it sent {type(packet).__name__.upper()}, which AWS IoT Core does not take from a client",
                )

    # -- PUBLISH --------------------------------------------------------------------------------------------------

    def _publish(self, live: LiveConnection, packet: Publish, moment: Moment, effects: list[Effect]) -> None:
        if packet.qos > MAX_QOS:
            raise Offence(
                ReasonCode.QOS_NOT_SUPPORTED,
                f"it published to {packet.topic!r} with QoS {packet.qos}: AWS IoT Core supports 0 and 1",
            )
        topic = live.incoming_aliases.resolve(packet) if packet.properties else packet.topic
        if len(packet.payload) > MAX_PAYLOAD_BYTES:
            # The service disconnects for this with CLIENT_ERROR (AWS page "Lifecycle events").
            raise Offence(
                ReasonCode.QUOTA_EXCEEDED,
                f"it published {len(packet.payload)} bytes to {topic!r}: AWS IoT Core allows {MAX_PAYLOAD_BYTES}",
            )
        if packet.properties:
            too_many = too_many_user_properties(packet.properties)
            if too_many is not None:
                raise Offence(ReasonCode.QUOTA_EXCEEDED, f"it published to {topic!r} with {too_many}")
            message = Message.of(
                topic,
                packet.payload,
                qos=packet.qos,
                retain=packet.retain,
                publisher=live.client_id,
                properties=packet.properties,
                at=moment.at,
            )
        else:
            message = Message(topic, packet.payload, packet.qos, packet.retain, live.client_id, packet.properties, None)
        try:
            if not self._is_within_limits(live, packet, message, moment, effects):
                return
            self._check_publish(live, packet, message, moment, effects)
        except RefusedOperation as refusal:
            if live.version is Version.MQTT311:
                raise
            if packet.packet_id is None:
                denied = refusal.reason is DisconnectReason.AUTH_ERROR
                if denied and self._choices.denied_publish_qos0_mqtt5 == "ignored":
                    return
                raise
            properties = self._answers.reason_for(live, "PUBACK", refusal.reason_code)
            refused = PubAck(packet.packet_id, refusal.reason_code, properties)
            self._answers.send(live, refused, moment, effects, topics=(topic,))
            return
        effects.append(
            Happened(
                Published(
                    live.number, live.client_id, topic, packet.payload, packet.qos, packet.retain, packet.duplicate
                )
            )
        )
        self._router.publish(message, moment, effects)
        if packet.packet_id is not None:
            # 0 also when nobody subscribed: AWS's list for PUBACK has no "no matching subscribers".
            self._answers.send(live, PubAck(packet.packet_id), moment, effects, topics=(topic,))

    def _is_within_limits(
        self, live: LiveConnection, packet: Publish, message: Message, moment: Moment, effects: list[Effect]
    ) -> bool:
        """Tell whether a PUBLISH is taken; if not it is left out, which MQTT 5 is told for QoS 1.

        Answers are late only by a fault: so nothing but a fault can bring a client over the receive maximum.
        """
        if packet.packet_id is not None and packet.packet_id not in live.unanswered:
            if len(live.unanswered) >= MAX_IN_FLIGHT:
                explanation = (
                    f"it has {len(live.unanswered)} messages of QoS 1 without an answer and published one more: AWS "
                    f"IoT Core allows {MAX_IN_FLIGHT}"
                )
                if live.version is Version.MQTT5:
                    raise Offence(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, explanation)
                effects.append(dropped(live.number, live.client_id, message, "receive_maximum", explanation))
                return False
            live.unanswered.add(packet.packet_id)
        throttled = (
            bool(self._faults.pending)
            and self._faults.take(("throttle",), "PUBLISH", live.client_id, (message.topic,)) is not None
        )
        if not throttled and (live.quotas is None or live.quotas.publishes_in.take(moment.now)):
            return True
        explanation = (
            "a fault throttles it"
            if throttled
            else f"it published more than {MAX_PUBLISHES_PER_SECOND_PER_CONNECTION} messages within this second, or "
            f"all clients more than {PUBLISHES_PER_SECOND:,}, which are AWS IoT Core's rates"
        )
        effects.append(dropped(live.number, live.client_id, message, "publish_rate", explanation))
        if packet.packet_id is not None:
            if live.version is Version.MQTT5:
                raise RefusedOperation(ReasonCode.QUOTA_EXCEEDED, explanation)
            live.unanswered.discard(packet.packet_id)
        return False

    def _check_publish(
        self, live: LiveConnection, packet: Publish, message: Message, moment: Moment, effects: list[Effect]
    ) -> None:
        try:
            check_publishable(message.topic, retain=message.retain, reserved=self._choices.reserved_topics)
            if packet.properties:
                check_response_topic(packet.properties)
        except InvalidTopic as error:
            refusal = RefusedOperation(ReasonCode.TOPIC_NAME_INVALID, error.message)
            _refuse(live, PUBLISH, message.topic, refusal, effects)
        if packet.qos and self._faults.pending:
            self._answer_by_fault(live, PUBLISH, message.topic, effects)
        _ask_policy(live, PUBLISH, message.topic, effects)
        if not message.retain:
            return
        _ask_policy(live, RETAIN_PUBLISH, message.topic, effects)
        if not self._router.can_retain(message, moment):
            _refuse(live, RETAIN_PUBLISH, message.topic, no_room_to_retain(message.topic), effects)

    def _answer_by_fault(self, live: LiveConnection, action: str, topic: str, effects: list[Effect]) -> None:
        """Refuse a PUBLISH or a topic filter if a fault says so."""
        fault = self._faults.take(("answer",), _FAULTY[action], live.client_id, (topic,))
        if fault is not None:
            explanation = f"{attempted(action, topic)}: a fault answers with reason code {fault.reason_code}"
            _refuse(live, action, topic, RefusedOperation(ReasonCode(fault.reason_code), explanation), effects)

    # -- SUBSCRIBE and UNSUBSCRIBE --------------------------------------------------------------------------------

    def _subscribe(self, live: LiveConnection, packet: Subscribe, moment: Moment, effects: list[Effect]) -> None:
        if Property.SUBSCRIPTION_IDENTIFIER in packet.properties:
            raise Offence(
                ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                "it subscribed with a subscription identifier: AWS IoT Core has none, as its CONNACK says",
            )
        if live.version is Version.MQTT311 and any(request.qos > MAX_QOS for request in packet.requests):
            raise Offence(
                ReasonCode.QOS_NOT_SUPPORTED,
                "it subscribed with QoS 2: AWS IoT Core supports 0 and 1, and does not answer this with MQTT 3.1.1",
            )
        if any(request.no_local and is_shared(request.topic_filter) for request in packet.requests):
            raise Offence(
                ReasonCode.PROTOCOL_ERROR, "it subscribed to a shared subscription with No Local (MQTT-3.8.3-4)"
            )
        reason_codes, granted = self._judge_filters(live, packet, moment, effects)
        first_error = next((code for code in reason_codes if code >= _FAILURE_311), 0)
        properties = self._answers.reason_for(live, "SUBACK", first_error)
        topic_filters = tuple(request.topic_filter for request in packet.requests)
        answer = SubAck(packet.packet_id, reason_codes, properties)
        self._answers.send(live, answer, moment, effects, topics=topic_filters)
        effects.append(Happened(Subscribed(live.number, live.client_id, topic_filters, reason_codes)))
        for request, subscription in granted:
            new = self._router.subscribe(subscription, moment, effects)
            # MQTT-3.3.1-9 to -11: 0 is always, 1 is for a new subscription, 2 is never.
            if request.retain_handling == 0 or (request.retain_handling == 1 and new):
                self._router.replay(subscription, moment, effects)
        self._lifecycle.subscribed(live.presence, [each.topic_filter for _, each in granted], moment, effects)

    def _judge_filters(
        self, live: LiveConnection, packet: Subscribe, moment: Moment, effects: list[Effect]
    ) -> tuple[tuple[int, ...], list[tuple[SubscribeRequest, Subscription]]]:
        """Return the codes for the SUBACK, and what is granted. Changes nothing yet."""
        if len(packet.requests) > MAX_FILTERS_PER_SUBSCRIBE:
            return self._refuse_all(live, packet, effects), []
        taken = set(live.session.subscriptions)
        reason_codes: list[int] = []
        granted: list[tuple[SubscribeRequest, Subscription]] = []
        for request in packet.requests:
            try:
                self._check_subscribe(live, request.topic_filter, taken, moment, effects)
            except RefusedOperation as refusal:
                reason_codes.append(self._failure(live, refusal))
                continue
            taken.add(request.topic_filter)
            qos = min(request.qos, MAX_QOS)
            reason_codes.append(qos)
            subscription = Subscription(
                live.session, request.topic_filter, qos, request.no_local, request.retain_as_published
            )
            granted.append((request, subscription))
        return tuple(reason_codes), granted

    def _check_subscribe(
        self, live: LiveConnection, topic_filter: str, taken: set[str], moment: Moment, effects: list[Effect]
    ) -> None:
        try:
            check_subscribable(topic_filter, reserved=self._choices.reserved_topics)
            if topic_filter not in taken and len(taken) >= MAX_SUBSCRIPTIONS_PER_CONNECTION:
                raise RefusedOperation(
                    ReasonCode.QUOTA_EXCEEDED,
                    f"subscribe to {topic_filter!r}: the connection has {len(taken)} subscriptions, "
                    f"AWS IoT Core allows {MAX_SUBSCRIPTIONS_PER_CONNECTION}",
                )
            new = len(taken) - len(live.session.subscriptions)
            if topic_filter not in taken and not self._router.has_room(new + 1):
                raise RefusedOperation(
                    ReasonCode.QUOTA_EXCEEDED,
                    f"subscribe to {topic_filter!r}: all clients together have {self._router.subscriptions:,} "
                    "subscriptions, AWS IoT Core allows no more to an account",
                )
            if live.quotas is not None and not live.quotas.account.subscriptions.take(moment.now):
                raise RefusedOperation(
                    ReasonCode.QUOTA_EXCEEDED,
                    f"subscribe to {topic_filter!r}: {SUBSCRIPTIONS_PER_SECOND} topic filters came from all clients "
                    "within this second, which is AWS IoT Core's rate",
                    DisconnectReason.THROTTLED,
                )
            if is_shared(topic_filter) and not self._router.can_share(live.session, topic_filter):
                raise RefusedOperation(
                    ReasonCode.QUOTA_EXCEEDED,
                    f"subscribe to {topic_filter!r}: the shared subscription has as many members as it may have",
                )
        except RefusedOperation as refusal:
            _refuse(live, SUBSCRIBE, topic_filter, refusal, effects)
        self._answer_by_fault(live, SUBSCRIBE, topic_filter, effects)
        _ask_policy(live, SUBSCRIBE, topic_filter, effects, report_allowed=True)

    def _refuse_all(self, live: LiveConnection, packet: Subscribe, effects: list[Effect]) -> tuple[int, ...]:
        first = packet.requests[0].topic_filter
        refusal = RefusedOperation(
            ReasonCode.QUOTA_EXCEEDED,
            f"subscribe to {first!r} and others: one SUBSCRIBE has {len(packet.requests)} topic filters, "
            f"AWS IoT Core allows {MAX_FILTERS_PER_SUBSCRIBE}",
        )
        effects.append(_decided(live, SUBSCRIBE, first, refusal))
        return (self._failure(live, refusal),) * len(packet.requests)

    def _failure(self, live: LiveConnection, refusal: RefusedOperation) -> int:
        """Return the code of a refused filter for the SUBACK, or raise the refusal where there is to be none."""
        if live.version is Version.MQTT5:
            return refusal.reason_code
        if self._refused_subscribe_311 == "hang_up":
            raise refusal
        return _FAILURE_311

    def _unsubscribe(self, live: LiveConnection, packet: Unsubscribe, moment: Moment, effects: list[Effect]) -> None:
        reason_codes: list[int] = []
        removed = [each for each in dict.fromkeys(packet.topic_filters) if each in live.session.subscriptions]
        for topic_filter in packet.topic_filters:
            try:
                check_topic_filter(topic_filter)
            except InvalidTopic:
                reason_codes.append(ReasonCode.TOPIC_FILTER_INVALID)
            else:
                # 0 also without a subscription: AWS's list for UNSUBACK has no "no subscription existed".
                reason_codes.append(ReasonCode.SUCCESS)
            self._router.unsubscribe(live.session, topic_filter, effects)
        answered = tuple(reason_codes) if live.version is Version.MQTT5 else ()
        self._answers.send(live, UnsubAck(packet.packet_id, answered), moment, effects, topics=packet.topic_filters)
        effects.append(Happened(Unsubscribed(live.number, live.client_id, packet.topic_filters)))
        self._lifecycle.unsubscribed(live.presence, removed, moment, effects)


# -- rules that need no more than the connection ----------------------------------------------------------------------


def _ask_policy(
    live: LiveConnection, action: str, topic: str, effects: list[Effect], *, report_allowed: bool = False
) -> None:
    decision = live.permissions.decide(action, topic)
    if decision.allowed and not report_allowed:
        return
    effects.append(
        Happened(
            Decided(live.number, live.client_id, action, decision.resource, decision.allowed, decision.explanation)
        )
    )
    if not decision.allowed:
        raise not_allowed(action, topic, decision.explanation)


def _refuse(
    live: LiveConnection, action: str, topic: str, refusal: RefusedOperation, effects: list[Effect]
) -> NoReturn:
    effects.append(_decided(live, action, topic, refusal))
    raise refusal from None


def _decided(live: LiveConnection, action: str, topic: str, refusal: RefusedOperation) -> Happened:
    # Not yet known to be of a reasonable length, unlike a topic that the policy is asked about.
    resource = shorten(live.permissions.resource(action, topic))
    return Happened(Decided(live.number, live.client_id, action, resource, False, refusal.explanation))
