"""What a POST publishes: each property from its documented place, and a reason for each that stands there wrongly."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.codec import Property
from iot_customauth_client.local.http_door import HttpRequest
from iot_customauth_client.local.http_publish import InvalidPublish, Publication, read_publication
from iot_customauth_client.local.http_routes import Target, refuse_route

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=30)


def read(target: str, *headers: tuple[str, str], body: bytes = b"payload") -> Publication:
    request = HttpRequest("POST", target, headers, body)
    return read_publication(request, Target.of(request))


def encoded(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def test_a_bare_publish_is_qos_0_and_not_retained() -> None:
    assert read("/topics/a") == Publication("a", b"payload", 0, False, {})


@pytest.mark.parametrize(
    ("path", "topic"),
    [
        ("/topics/device/message", "device/message"),
        ("/topics/device%2Fmessage", "device/message"),
        ("/topics/a%20b%2Bc+d", "a b+c+d"),
        ("/topics/%C3%A9", "é"),
        ("/topics//a/", "/a/"),
        ("/topics/%252F", "%2F"),
        ("https://localhost:8443/topics/a", "a"),
    ],
)
def test_the_topic_is_the_path_decoded_once(path: str, topic: str) -> None:
    assert read(f"{path}?qos=1").topic == topic


@given(texts)
def test_any_encoded_topic_arrives(topic: str) -> None:
    assert read(f"/topics/{quote(topic, safe='')}").topic == topic


@given(
    texts,
    topics,
    st.binary(max_size=30),
    st.lists(st.tuples(texts, texts), max_size=3),
    st.integers(0, 2**40),
)
def test_every_property_arrives_from_its_place(
    content_type: str, response_topic: str, correlation: bytes, users: list[tuple[str, str]], expiry: int
) -> None:
    publication = read(
        f"/topics/a?qos=1&retain=true&contentType={quote(content_type, safe='')}"
        f"&responseTopic={quote(response_topic, safe='')}&messageExpiry={expiry}&action=of-the-authorizer",
        ("x-amz-mqtt5-user-properties", encoded([{key: value} for key, value in users])),
        ("x-amz-mqtt5-payload-format-indicator", "UTF8_DATA"),
        ("x-amz-mqtt5-correlation-data", base64.b64encode(correlation).decode()),
    )
    assert (publication.qos, publication.retain) == (1, True)
    assert publication.properties == {
        Property.CONTENT_TYPE: content_type,
        Property.RESPONSE_TOPIC: response_topic,
        Property.MESSAGE_EXPIRY_INTERVAL: min(expiry, 2**32 - 1),
        **({Property.USER_PROPERTY: tuple(users)} if users else {}),
        Property.PAYLOAD_FORMAT_INDICATOR: 1,
        Property.CORRELATION_DATA: correlation,
    }


def test_user_properties_keep_their_order_and_their_repetitions() -> None:
    header = encoded([{"k": "1"}, {"k": "2", "l": "3"}])
    publication = read("/topics/a", ("x-amz-mqtt5-user-properties", header))
    assert publication.properties == {Property.USER_PROPERTY: (("k", "1"), ("k", "2"), ("l", "3"))}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("qos=2", "qos must be 0 or 1"),
        ("qos=", "qos must be 0 or 1"),
        ("qos=1&qos=1", "qos came more than once"),
        ("retain=True", "retain must be false or true"),
        ("messageExpiry=1.5", "whole number"),
        ("messageExpiry=-1", "whole number"),
        ("messageExpiry=%D9%A3", "whole number"),  # a digit, but no ASCII
        ("messageExpiry=" + "9" * 5000, "whole number"),
        ("contentType=%FF", "contentType is not UTF-8"),
        ("contentType=%00", "cannot be sent"),
        ("responseTopic=", "response topic is empty"),
        ("responseTopic=a/%2B", "response topic contains a wildcard"),
    ],
)
def test_a_wrong_parameter_is_named(query: str, words: str) -> None:
    with pytest.raises(InvalidPublish, match=words):
        read(f"/topics/a?{query}")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("user-properties", "no base64!", "not standard base64"),
        ("user-properties", "YQ", "not standard base64"),  # without its padding
        ("user-properties", "é", "not standard base64"),
        ("user-properties", base64.b64encode(b"{").decode(), "base64 of JSON"),
        ("user-properties", base64.b64encode(b"\xff").decode(), "base64 of JSON"),
        ("user-properties", base64.b64encode(b"[" * 40_000).decode(), "base64 of JSON"),
        ("user-properties", encoded({"k": "v"}), "list of objects"),
        ("user-properties", encoded(["k"]), "list of objects"),
        ("user-properties", encoded([{"k": 1}]), "must be text"),
        ("user-properties", encoded([{"k": "\ud800"}]), "cannot be sent"),
        ("payload-format-indicator", "1", "UNSPECIFIED_BYTES or UTF8_DATA"),
        ("correlation-data", "a b", "not standard base64"),
    ],
)
def test_a_wrong_header_is_named(name: str, value: str, words: str) -> None:
    with pytest.raises(InvalidPublish, match=words) as caught:
        read("/topics/a", (f"x-amz-mqtt5-{name}", value))
    assert "correlation-data" in str(caught.value) or name != "correlation-data"


def test_a_header_that_comes_twice_is_refused() -> None:
    header = ("x-amz-mqtt5-correlation-data", "YQ==")
    with pytest.raises(InvalidPublish, match="more than once"):
        read("/topics/a", header, header)


def test_a_topic_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InvalidPublish, match="not UTF-8"):
        read("/topics/%FF")


@pytest.mark.parametrize(
    ("method", "target", "status", "words"),
    [
        ("GET", "/topics/a", 405, "by POST"),
        ("HEAD", "/topics/a", 405, "by POST"),
        ("POST", "/mqtt", 405, "GET /mqtt"),
        ("GET", "/mqtt/", 404, "without a slash"),
        ("POST", "/topics", 404, "the topic is missing"),
        ("POST", "/topic/a", 404, "did you mean /topics?"),
        ("GET", "/things/t/shadow", 404, "nothing else over HTTPS"),
        ("GET", "/retainedMessage/a", 404, "nothing else over HTTPS"),
        ("GET", "/retainedMessage", 404, "nothing else over HTTPS"),
        ("DELETE", "/connections/client_id", 404, "nothing else over HTTPS"),
        ("OPTIONS", "*", 404, "not served"),
        ("CONNECT", "localhost:443", 404, "not served"),
        ("c2VjcmV0", "/topics/a", 405, "by POST"),
        ("GET", "/c2VjcmV0", 404, "not served"),
    ],
)
def test_what_leads_nowhere_is_refused_with_advice(method: str, target: str, status: int, words: str) -> None:
    request = HttpRequest(method, target, (), b"")
    refusal = refuse_route(method, Target.of(request))
    assert refusal is not None
    assert refusal.answer.status == status
    assert words in refusal.explanation
    assert "c2VjcmV0" not in repr((refusal, Target.of(request).shown))
    assert (status == 405) == (dict(refusal.answer.headers).get("Allow") is not None)


def test_what_leads_somewhere_is_not_refused() -> None:
    for method, target in (("POST", "/topics/a?qos=1"), ("GET", "/mqtt"), ("GET", "/mqtt?x-amz=1")):
        assert refuse_route(method, Target.of(HttpRequest(method, target, (), b""))) is None
