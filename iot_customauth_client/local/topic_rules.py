"""What the broker asks of a topic beyond its form (`topics.py`): reserved topics, and the response topic.

All topics that start with `$` are reserved (AWS page "Reserved topics"). Of these only `$aws/...` are for use, each
for publishing, subscribing or both (`reserved_topics.py`); then a policy decides. Nothing can be retained there (AWS
page "MQTT"). What the service does with a PUBLISH that is retained nevertheless is not documented; here it is an
invalid topic, so that it is noticed.
"""

from ..errors import InvalidTopic
from ..topics import check_topic_filter, check_topic_name, split_shared
from .codec import Properties, Property, ReasonCode
from .offence import RefusedOperation
from .reserved_topics import ReservedTopics, can_take, operations

_FOR_USE = "$aws/"
_BASIC_INGEST = "$aws/rules/"


def check_publishable(topic: str, *, retain: bool, reserved: ReservedTopics, what: str = "topic") -> None:
    """Raise `InvalidTopic` unless a client can publish to the topic, with RETAIN if so asked."""
    check_topic_name(topic, what=what)
    if not topic.startswith("$"):
        return
    if not topic.startswith(_FOR_USE):
        raise InvalidTopic(f"{what} {topic!r} is reserved: of the topics that start with '$' only $aws/... can be used")
    if retain:
        raise InvalidTopic(f"{what} {topic!r} is reserved: nothing can be retained there")
    if reserved == "documented":
        _check_reserved(topic, what)


def check_response_topic(properties: Properties) -> None:
    """Raise `InvalidTopic` if the properties name a response topic that nobody could publish to (MQTT-3.3.2-14)."""
    topic = properties.get(Property.RESPONSE_TOPIC)
    if isinstance(topic, str):
        check_topic_name(topic, what="response topic")


def check_subscribable(topic_filter: str, *, reserved: ReservedTopics) -> None:
    """Raise `RefusedOperation` unless a client can subscribe to the filter."""
    try:
        check_topic_filter(topic_filter)
    except InvalidTopic as error:
        raise RefusedOperation(ReasonCode.TOPIC_FILTER_INVALID, error.message) from None
    plain = split_shared(topic_filter)[1]
    if not plain.startswith("$"):
        return
    if not plain.startswith(_FOR_USE):
        raise RefusedOperation(
            ReasonCode.TOPIC_FILTER_INVALID,
            f"topic filter {topic_filter!r} is reserved: of those that start with '$' only $aws/... can be used",
        )
    if reserved == "documented" and not can_take(plain):
        raise RefusedOperation(
            ReasonCode.TOPIC_FILTER_INVALID,
            f"topic filter {topic_filter!r} takes no topic that a client may subscribe to: AWS IoT Core has only the "
            'reserved topics that it documents (page "Reserved topics")',
        )


def is_shared(topic_filter: str) -> bool:
    """Tell whether a topic filter that can be subscribed to is `$share/<name>/<filter>`."""
    return topic_filter.startswith("$share/")


def reaches_subscribers(topic: str) -> bool:
    """Tell whether a message on the topic goes to subscribers.

    Basic ingest (`$aws/rules/<rule>/...`) goes to the rule and past the broker (AWS page "Basic Ingest"); there are
    no rules here, so the message is accepted and goes nowhere.
    """
    return not topic.startswith(_BASIC_INGEST)


def _check_reserved(topic: str, what: str) -> None:
    allowed = operations(topic)
    if not allowed:
        raise InvalidTopic(
            f"{what} {topic!r} is reserved, and no topic of AWS IoT Core: look for a misspelling on the page "
            '"Reserved topics"'
        )
    if allowed == {"subscribe"}:
        raise InvalidTopic(
            f"{what} {topic!r} is for AWS IoT Core to publish, a client may only subscribe to it; a test that stands "
            "for the service uses LocalEndpoint.publish"
        )
