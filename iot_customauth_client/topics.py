"""Topic names and topic filters: what may be written, and which filter takes which topic.

Two sets of rules meet here: those of MQTT (section 4.7 of the specification) and those of AWS IoT Core, which has
limits of its own (`limits.py`) and one difference in matching: `sensor/#` does not take `sensor`. Everything is pure
text; an offence raises `InvalidTopic` with a sentence that says what is wrong with which part.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .errors import InvalidTopic
from .limits import MAX_RULE_NAME_CHARACTERS, MAX_SHARE_NAME_CHARACTERS, MAX_TOPIC_BYTES, MAX_TOPIC_SLASHES

_SHARE = "$share/"
# MQTT forbids U+0000 and surrogates; control and noncharacters it advises against, and awscrt refuses (MQTT-1.5.3).
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_RULES = "$aws/rules/"


def check_topic_name(topic: str, *, what: str = "topic") -> None:
    """Raise `InvalidTopic` unless a message can be published to `topic`.

    A topic has 1 to 256 bytes of UTF-8 and at most 7 slashes, both without a leading `$aws/rules/<rule>/`, whose rule
    has at most 128 characters; it holds no wildcard and no U+0000.
    """
    if isinstance(topic, str) and len(topic) <= MAX_TOPIC_BYTES:
        _check_short_name(topic, what)  # the same few topics come again and again
    else:
        _check_name(topic, what)


def _check_name(topic: str, what: str) -> None:
    _check_text(topic, what)
    for wildcard in "+#":
        if wildcard in topic:
            raise InvalidTopic(
                f"{what} {topic!r} holds the wildcard {wildcard!r}: a message is published to one topic, "
                "wildcards are for subscribing"
            )
    if topic.startswith(_SHARE):
        raise InvalidTopic(f"{what} {topic!r} starts with $share/, which is for subscribing only")
    _check_limits(topic, what)


@lru_cache(maxsize=1_024)
def _check_short_name(topic: str, what: str) -> None:
    _check_name(topic, what)


def check_topic_filter(topic_filter: str) -> None:
    """Raise `InvalidTopic` unless `topic_filter` can be subscribed to.

    `+` stands alone in its level, `#` alone in the last one. A shared subscription is `$share/<name>/<filter>`. The
    limits of a topic hold for the filter, without the prefix.
    """
    _check_text(topic_filter, "topic filter")
    name, plain = split_shared(topic_filter)
    if name is not None:
        _check_share(topic_filter, name, plain)
    levels = plain.split("/")
    for number, level in enumerate(levels, start=1):
        if "#" in level and (level != "#" or number != len(levels)):
            raise InvalidTopic(
                f"topic filter {topic_filter!r}: '#' must be the whole last level (level {number} is {level!r})"
            )
        if "+" in level and level != "+":
            raise InvalidTopic(
                f"topic filter {topic_filter!r}: '+' must be a whole level (level {number} is {level!r})"
            )
    _check_limits(plain, "topic filter")


def split_shared(topic_filter: str) -> tuple[str | None, str]:
    """Split `$share/<name>/<filter>` into name and filter; any other filter has no name (`None`)."""
    if not topic_filter.startswith(_SHARE):
        return None, topic_filter
    name, _, plain = topic_filter[len(_SHARE) :].partition("/")
    return name, plain


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a subscription to `topic_filter` takes a message published to `topic`, by AWS's rule.

    `+` takes one level, `#` one or more (MQTT would let it take none as well); a wildcard in the first level takes no
    topic that starts with `$` (MQTT-4.7.2-1). A `$share/<name>/` prefix is left aside.
    """
    topic_filter = split_shared(topic_filter)[1]
    if topic_filter == topic:
        return True
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted = topic_filter.split("/")
    given = topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return len(given) > index
        if index >= len(given) or level not in ("+", given[index]):
            return False
    return len(wanted) == len(given)


def has_wildcard(topic_filter: str) -> bool:
    """Tell whether a topic filter can take more than one topic."""
    return "+" in topic_filter or "#" in topic_filter


def _check_text(text: str, what: str) -> None:
    if not isinstance(text, str):
        raise InvalidTopic(f"{what} must be a str, not {type(text).__name__}")
    if not text:
        raise InvalidTopic(f"{what} is empty")
    wrong = _NOT_TEXT.search(text)
    if wrong is not None:
        raise InvalidTopic(f"{what} {text!r} holds U+{ord(wrong.group()):04X}, a character that MQTT text cannot hold")


def _check_share(topic_filter: str, name: str, plain: str) -> None:
    if not name or not plain:
        raise InvalidTopic(f"topic filter {topic_filter!r}: a shared subscription is $share/<name>/<filter>")
    if "+" in name or "#" in name:
        raise InvalidTopic(f"topic filter {topic_filter!r}: the share name {name!r} holds a wildcard")
    if len(name) > MAX_SHARE_NAME_CHARACTERS:
        raise InvalidTopic(
            f"topic filter {topic_filter!r}: the share name has {len(name)} characters, "
            f"{MAX_SHARE_NAME_CHARACTERS} are allowed"
        )


def _check_limits(text: str, what: str) -> None:
    counted = text
    if text.startswith(_RULES):
        # Basic ingest: the three levels that name the rule are not counted (AWS IoT Core quotas).
        rule, _, counted = text[len(_RULES) :].partition("/")
        if len(rule) > MAX_RULE_NAME_CHARACTERS:
            raise InvalidTopic(
                f"{what} names a rule with {len(rule)} characters, AWS IoT Core allows {MAX_RULE_NAME_CHARACTERS}: "
                f"{text[:60]!r}..."
            )
    size = len(counted.encode())
    if size > MAX_TOPIC_BYTES:
        raise InvalidTopic(f"{what} has {size} bytes, AWS IoT Core allows {MAX_TOPIC_BYTES}: {text[:60]!r}...")
    slashes = counted.count("/")
    if slashes > MAX_TOPIC_SLASHES:
        raise InvalidTopic(
            f"{what} {text!r} has {slashes} slashes, AWS IoT Core allows {MAX_TOPIC_SLASHES} "
            f"({MAX_TOPIC_SLASHES + 1} levels)"
        )
