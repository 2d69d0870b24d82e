"""A client that publishes without a connection of MQTT: what one HTTPS request may do.

It has no client id (AWS page "HTTPS"), no session and no keep alive. So only two things are asked of its policies,
`iot:Publish` and, with retain, `iot:RetainPublish`; `iot:Connect` is not, for there is nothing to connect, unless
`Choices.connect_over_https` says so.
`Broker.publish_for` is its one way in.
"""

from __future__ import annotations

from typing import Final

from ..authorizer.arn import client_arn, topic_arn
from ..authorizer.context import Context
from ..authorizer.policy import evaluate
from ..errors import InvalidTopic
from .choices import DEFAULT_CHOICES, Choices
from .codec import Properties, ReasonCode
from .effects import Effect, Grant, Happened
from .events import Decided
from .message import Message, too_many_user_properties
from .offence import RefusedOperation, shorten
from .permissions import CONNECT, PUBLISH, RETAIN_PUBLISH
from .refusals import no_room_to_retain, not_allowed
from .topic_rules import check_publishable, check_response_topic


class Visitor:
    """What the client of one HTTPS request was granted. `region` and `account` are those of the ARNs."""

    __slots__ = ("_account", "_choices", "_context", "_policies", "_region", "connection")

    def __init__(
        self, connection: int, grant: Grant, *, region: str, account: str, choices: Choices = DEFAULT_CHOICES
    ) -> None:
        self.connection: Final = connection
        self._policies = grant.policies
        self._choices = choices
        self._context = Context(None, grant.source_ip, domain_name=grant.server_name)
        self._region = region
        self._account = account

    def check(self, message: Message, properties: Properties, can_retain: bool, effects: list[Effect]) -> None:
        """Raise `RefusedOperation` unless the message may be published; a refusal is also a `decided` event."""
        try:
            check_publishable(message.topic, retain=message.retain, reserved=self._choices.reserved_topics)
            check_response_topic(properties)
        except InvalidTopic as error:
            refusal = RefusedOperation(ReasonCode.TOPIC_NAME_INVALID, error.message)
            effects.append(self._decided(PUBLISH, message.topic, False, refusal.explanation))
            raise refusal from None
        too_many = too_many_user_properties(properties)
        if too_many is not None:
            raise RefusedOperation(ReasonCode.QUOTA_EXCEEDED, f"publish to {message.topic!r} with {too_many}")
        if self._choices.connect_over_https == "asked":
            self._ask(CONNECT, "", effects)
        self._ask(PUBLISH, message.topic, effects)
        if not message.retain:
            return
        self._ask(RETAIN_PUBLISH, message.topic, effects)
        if not can_retain:
            refusal = no_room_to_retain(message.topic)
            effects.append(self._decided(RETAIN_PUBLISH, message.topic, False, refusal.explanation))
            raise refusal

    def _ask(self, action: str, topic: str, effects: list[Effect]) -> None:
        decision = evaluate(self._policies, action, self._resource(action, topic), self._context)
        if decision.allowed:
            return
        effects.append(self._decided(action, topic, False, decision.explanation))
        raise not_allowed(action, topic, decision.explanation)

    def _decided(self, action: str, topic: str, allowed: bool, explanation: str) -> Happened:
        return Happened(
            Decided(self.connection, "", action, shorten(self._resource(action, topic)), allowed, explanation)
        )

    def _resource(self, action: str, name: str) -> str:
        arn = client_arn if action == CONNECT else topic_arn
        return arn(self._region, self._account, name)
