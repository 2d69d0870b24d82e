"""What one client may do: its policies, asked about topics instead of ARNs.

The policies of one grant and the context they are evaluated in are fixed, so an answer once given stays true; another
grant makes another `Permissions`. The answers are kept, since a device publishes to few topics again and again; how
many is bounded, since a client chooses the topics.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ..authorizer.arn import client_arn, topic_arn, topicfilter_arn
from ..authorizer.context import Context
from ..authorizer.policy import Decision, evaluate
from .choices import DEFAULT_CHOICES, Choices
from .codec import Connect, Property
from .effects import Grant

CONNECT: Final = "iot:Connect"
PUBLISH: Final = "iot:Publish"
RETAIN_PUBLISH: Final = "iot:RetainPublish"
SUBSCRIBE: Final = "iot:Subscribe"
RECEIVE: Final = "iot:Receive"

_KEPT_ANSWERS: Final = 512
_KEPT_BYTES: Final = 256 * 1024
"""Of the answers of one connection, in memory: a client chooses their topics, and a denial has much to say."""
_ANSWER_BYTES: Final = 256  # of one answer, beside its texts

# AWS page "AWS IoT Core policy actions": the kind of resource that each action on topics is checked against.
_RESOURCE: Final[dict[str, Callable[[str, str, str], str]]] = {
    PUBLISH: topic_arn,
    RETAIN_PUBLISH: topic_arn,
    SUBSCRIBE: topicfilter_arn,
    RECEIVE: topic_arn,
}


class Permissions:
    """The policies of one connection. `region` and `account` are those of the ARNs that it is asked about."""

    __slots__ = (
        "_account",
        "_answers",
        "_choices",
        "_client_id",
        "_connect_context",
        "_context",
        "_grant",
        "_kept_bytes",
        "_region",
    )

    def __init__(
        self, grant: Grant, *, region: str, account: str, client_id: str, choices: Choices = DEFAULT_CHOICES
    ) -> None:
        self._grant = grant
        self._region = region
        self._account = account
        self._client_id = client_id
        self._choices = choices
        thing_name = client_id if choices.thing_name == "client_id" else None
        self._context = Context(client_id, grant.source_ip, domain_name=grant.server_name, thing_name=thing_name)
        self._connect_context = self._context
        self._answers: dict[tuple[str, str], Decision] = {}
        self._kept_bytes = 0

    def connect(self, packet: Connect) -> Decision:
        """Decide `iot:Connect`. Only here do the connect attributes and the will's topic stand in the context.

        `PersistentConnect` is present if the client asked to resume a session or to keep one: no clean start, or,
        with MQTT 5, a session expiry above 0.
        """
        attributes = set[str]()
        if not packet.clean_start or packet.properties.get(Property.SESSION_EXPIRY_INTERVAL):
            attributes.add("PersistentConnect")
        will_topic = None
        if packet.will is not None:
            attributes.add("LastWill")
            will_topic = topic_arn(self._region, self._account, packet.will.topic)
        self._connect_context = replace(
            self._context, connect_attributes=frozenset(attributes), last_will_topic=will_topic
        )
        return self._decide_connect()

    def connect_without_will(self) -> Decision:
        """Decide `iot:Connect` once more, as if CONNECT had no will: see `Choices.reauthorise_after_seconds`."""
        attributes = self._connect_context.connect_attributes - {"LastWill"}
        context = replace(self._connect_context, connect_attributes=attributes, last_will_topic=None)
        return self._decide_connect(context)

    def regrant(self, grant: Grant) -> tuple["Permissions", Decision]:
        """Return the permissions of a newer grant for the same connection, and its decision on `iot:Connect`.

        The connect attributes and the will's topic are in the context as they were when the client connected.
        """
        newer = Permissions(
            grant, region=self._region, account=self._account, client_id=self._client_id, choices=self._choices
        )
        newer._connect_context = replace(
            newer._context,
            connect_attributes=self._connect_context.connect_attributes,
            last_will_topic=self._connect_context.last_will_topic,
        )
        return newer, newer._decide_connect()

    def decide(self, action: str, topic: str) -> Decision:
        """Decide an action on a topic or, for `iot:Subscribe`, on a topic filter as the client sent it."""
        key = action, topic
        decision = self._answers.get(key)
        if decision is None:
            decision = evaluate(self._grant.policies, action, self.resource(action, topic), self._context)
            size = _ANSWER_BYTES + sum(map(sys.getsizeof, (topic, decision.resource, decision.explanation)))
            if len(self._answers) >= _KEPT_ANSWERS or self._kept_bytes + size > _KEPT_BYTES:
                self._answers.clear()
                self._kept_bytes = 0
            self._answers[key] = decision
            self._kept_bytes += size
        return decision

    @property
    def kept_answers(self) -> int:
        """How many answers are kept."""
        return len(self._answers)

    def _decide_connect(self, context: Context | None = None) -> Decision:
        resource = client_arn(self._region, self._account, self._client_id)
        return evaluate(self._grant.policies, CONNECT, resource, context or self._connect_context)

    def resource(self, action: str, topic: str) -> str:
        """Return the ARN that an action on the topic or topic filter is checked against."""
        return _RESOURCE[action](self._region, self._account, topic)
