"""Topic names and filters: the rules of MQTT, the limits of AWS IoT Core, and who gets what."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client import CustomAuthError, InvalidTopic
from iot_customauth_client.topics import (
    check_topic_filter,
    check_topic_name,
    has_wildcard,
    matches,
    split_shared,
)

levels = st.sampled_from(["", "a", "b", "ab", "$aws", "\u00e9", " ", ".", "*", "a.b", "$"])
topic_names = st.lists(levels, min_size=1, max_size=5).map("/".join).filter(bool)


@st.composite
def topic_filters(draw: st.DrawFn) -> str:
    parts = draw(st.lists(levels | st.just("+"), max_size=5))
    if draw(st.booleans()) or not "/".join(parts):
        parts.append("#")
    return "/".join(parts)


def oracle(topic_filter: str, topic: str) -> bool:
    """Match by a regular expression, an independent reading of MQTT section 4.7 with AWS's difference."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    parts = [{"+": "[^/]*", "#": ".*"}.get(level, re.escape(level)) for level in topic_filter.split("/")]
    return re.fullmatch("/".join(parts), topic, re.DOTALL) is not None


@given(topic_filters(), topic_names)
def test_matching_agrees_with_a_regular_expression(topic_filter: str, topic: str) -> None:
    check_topic_filter(topic_filter)
    check_topic_name(topic)
    assert matches(topic_filter, topic) == oracle(topic_filter, topic)


@given(topic_names, st.data())
def test_replacing_levels_by_wildcards_still_matches(topic: str, data: st.DataObject) -> None:
    parts = topic.split("/")
    first = 1 if topic.startswith("$") else 0  # MQTT-4.7.2-1
    for index in range(first, len(parts)):
        if data.draw(st.booleans()):
            parts[index] = "+"
    assert matches("/".join(parts), topic)
    if len(parts) > first:
        cut = data.draw(st.integers(first, len(parts) - 1))
        assert matches("/".join([*parts[:cut], "#"]), topic)


@given(topic_filters(), topic_names, st.text("abc", min_size=1))
def test_a_share_prefix_changes_nothing_about_matching(topic_filter: str, topic: str, name: str) -> None:
    assert matches(f"$share/{name}/{topic_filter}", topic) == matches(topic_filter, topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "taken"),
    [
        ("sensor/#", "sensor", False),  # AWS's difference: MQTT would say yes
        ("sensor/#", "sensor/", True),
        ("sensor/#", "sensor/a/b", True),
        ("#", "a/b", True),
        ("#", "$aws/things", False),
        ("+/things", "$aws/things", False),
        ("$aws/#", "$aws/things", True),
        ("$aws/+", "$aws/things", True),
        ("a/#", "a/$b", True),
        ("+", "a", True),
        ("+", "a/b", False),
        ("+/+", "/a", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("a", "A", False),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("$share/group/a/+", "a/b", True),
        ("$share/group/#", "$aws/x", False),
    ],
)
def test_who_gets_what(topic_filter: str, topic: str, taken: bool) -> None:
    assert matches(topic_filter, topic) is taken


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("", "topic is empty"),
        ("a/+/b", r"holds the wildcard '\+'"),
        ("a#", "holds the wildcard '#'"),
        ("a\0", r"U\+0000"),
        ("a\ud800", "U\\+D800"),
        ("$share/g/a", "for subscribing only"),
        ("a" * 257, "has 257 bytes, AWS IoT Core allows 256"),
        ("\u20ac" * 86, "has 258 bytes"),
        ("a/b/c/d/e/f/g/h/i", r"has 8 slashes, AWS IoT Core allows 7 \(8 levels\)"),
        ("$aws/rules/r/" + "a" * 257, "has 257 bytes"),
        ("$aws/rules/r/" + "/" * 8, "has 8 slashes"),
        ("$aws/rules/" + "r" * 129, "a rule with 129 characters, AWS IoT Core allows 128"),
        ("$aws/rules/" + "r" * 60_000 + "/a", "a rule with 60000 characters"),
    ],
)
def test_a_topic_that_cannot_be_published_to_is_refused(topic: str, message: str) -> None:
    with pytest.raises(InvalidTopic, match=message):
        check_topic_name(topic)


@pytest.mark.parametrize(
    "topic",
    [
        "a",
        "/",
        "a" * 256,
        "\u20ac" * 85,
        "a/b/c/d/e/f/g/h",
        "$aws/things/t/shadow/update",
        "$aws/rules/" + "r" * 128 + "/" + "a" * 256,
        "$aws/rules/r/a/b/c/d/e/f/g/h",
        "$shared/a",
    ],
)
def test_topics_up_to_the_limits_are_taken(topic: str) -> None:
    check_topic_name(topic)
    check_topic_filter(topic)


@pytest.mark.parametrize(
    ("topic_filter", "message"),
    [
        ("", "topic filter is empty"),
        ("a/#/b", r"'#' must be the whole last level \(level 2 is '#'\)"),
        ("a/b#", r"'#' must be the whole last level \(level 2 is 'b#'\)"),
        ("##", "'#' must be the whole last level"),
        ("a+/b", r"'\+' must be a whole level \(level 1 is 'a\+'\)"),
        ("++", r"'\+' must be a whole level"),
        ("+#", "must be"),
        ("a\0", r"U\+0000"),
        ("$share/group", r"is \$share/<name>/<filter>"),
        ("$share/group/", r"is \$share/<name>/<filter>"),
        ("$share//a", r"is \$share/<name>/<filter>"),
        ("$share/g+/a", "holds a wildcard"),
        ("$share/#/a", "holds a wildcard"),
        ("$share/" + "g" * 129 + "/a", "has 129 characters, 128 are allowed"),
        ("$share/g/a/#/b", "whole last level"),
        ("$share/g/" + "a" * 257, "has 257 bytes"),
        ("+/+/+/+/+/+/+/+/#", "has 8 slashes"),
    ],
)
def test_a_filter_that_cannot_be_subscribed_to_is_refused(topic_filter: str, message: str) -> None:
    with pytest.raises(InvalidTopic, match=message):
        check_topic_filter(topic_filter)


@pytest.mark.parametrize(
    "topic_filter",
    [
        "#",
        "+",
        "+/+/+/+/+/+/+/#",
        "/+/",
        "$share/" + "g" * 128 + "/" + "a" * 256,
        "$share/g/a/b/c/d/e/f/g/#",
        "$share/g/$aws/rules/r/a",
        "$aws/things/+/shadow/#",
    ],
)
def test_filters_up_to_the_limits_are_taken(topic_filter: str) -> None:
    check_topic_filter(topic_filter)


@pytest.mark.parametrize("value", [None, b"a", 5])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidTopic, match="must be a str"):
        check_topic_name(value)  # type: ignore[arg-type]
    with pytest.raises(InvalidTopic, match="must be a str"):
        check_topic_filter(value)  # type: ignore[arg-type]


@given(st.text(max_size=300))
def test_a_name_that_is_taken_is_within_every_limit(text: str) -> None:
    try:
        check_topic_name(text)
    except InvalidTopic:
        return
    assert not set(text) & set("+#\0")
    counted = re.sub(r"^\$aws/rules/[^/]*(/|$)", "", text)
    assert len(counted.encode()) <= 256
    assert counted.count("/") <= 7


def test_the_caller_may_say_what_the_topic_is_for() -> None:
    with pytest.raises(InvalidTopic, match=r"^will topic is empty"):
        check_topic_name("", what="will topic")


def test_shared_filters_are_split() -> None:
    assert split_shared("$share/group/a/b") == ("group", "a/b")
    assert split_shared("$share/group") == ("group", "")
    assert split_shared("a/b") == (None, "a/b")
    assert split_shared("$shared/a/b") == (None, "$shared/a/b")


def test_wildcards_are_found() -> None:
    assert has_wildcard("a/+/b")
    assert has_wildcard("a/#")
    assert not has_wildcard("a/b")


def test_an_invalid_topic_is_a_value_error_of_this_package() -> None:
    with pytest.raises(InvalidTopic) as caught:
        check_topic_name("a/+")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, CustomAuthError)
    assert caught.value.code == "invalid_topic"
