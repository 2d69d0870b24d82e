"""Which door a client gets, by example, and what it is told when it gets none."""

import pytest

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local.doors import Alert, Door, ServedNames, TurnAway, choose_door

AWS = "a1b2-ats.iot.eu-west-1.amazonaws.com"
SERVED = ServedNames(["localhost", AWS, "*.example.net", "127.0.0.1"])


@pytest.mark.parametrize(
    ("alpn", "door"),
    [
        (("mqtt",), Door.MQTT),
        (("x-amzn-mqtt-ca", "mqtt"), Door.MQTT),
        (("http/1.1", "mqtt"), Door.MQTT),
        ((), Door.HTTP),
        (("http/1.1",), Door.HTTP),
        (("h2", "http/1.1"), Door.HTTP),
        (("x-amzn-http-ca", "http/1.1"), Door.HTTP),
    ],
)
def test_alpn_selects_the_door(alpn: tuple[str, ...], door: Door) -> None:
    assert choose_door(AWS, alpn, SERVED) is door


@pytest.mark.parametrize(
    ("alpn", "alert", "cause", "advice"),
    [
        (("x-amzn-mqtt-ca",), 40, "alpn_for_client_certificates", "exactly `mqtt`"),
        (("x-amzn-http-ca",), 40, "alpn_for_client_certificates", "needs no ALPN"),
        (("h2", "x-amzn-mqtt-ca"), 40, "alpn_for_client_certificates", "exactly `mqtt`"),
        (("h2",), 120, "alpn_unknown", "`h2`"),
        (("MQTT",), 120, "alpn_unknown", "`MQTT` is unknown"),
        (("http/1.0",), 120, "alpn_unknown", "--no-alpn"),
        (("mqtt/5",), 120, "alpn_unknown", "exactly `mqtt`"),
    ],
)
def test_other_alpn_is_turned_away_with_advice(alpn: tuple[str, ...], alert: int, cause: str, advice: str) -> None:
    answer = choose_door(AWS, alpn, SERVED)
    assert isinstance(answer, TurnAway)
    assert (answer.alert, answer.cause) == (alert, cause)
    assert advice in answer.explanation


@pytest.mark.parametrize("name", ["localhost", "LocalHost", AWS.upper(), "device.example.net", "127.0.0.1"])
def test_names_are_compared_without_case_and_a_wildcard_is_one_label(name: str) -> None:
    assert choose_door(name, ("mqtt",), SERVED) is Door.MQTT


@pytest.mark.parametrize("name", ["example.net", "a.b.example.net", "localhost.", "127.0.0.2", "*.example.net", ""])
def test_a_stranger_is_told_the_name_it_sent_and_the_names_served(name: str) -> None:
    answer = choose_door(name, ("mqtt",), SERVED)
    assert isinstance(answer, TurnAway)
    assert (answer.cause, answer.alert) == ("sni_unknown", Alert.UNRECOGNIZED_NAME)
    assert f"`{name}`" in answer.explanation
    assert f"`localhost`, `{AWS}`" in answer.explanation


def test_a_trailing_dot_gets_its_own_advice() -> None:
    answer = choose_door("localhost.", ("mqtt",), SERVED)
    assert isinstance(answer, TurnAway)
    assert "without the dot" in answer.explanation


@pytest.mark.parametrize("alpn", [("h2",), ("mqtt",), ("http/1.1",), ("x-amzn-mqtt-ca",), ()])
def test_no_server_name_is_turned_away_before_alpn_is_looked_at(alpn: tuple[str, ...]) -> None:
    answer = choose_door(None, alpn, SERVED)
    assert isinstance(answer, TurnAway)
    assert (answer.cause, answer.alert) == ("sni_missing", Alert.UNRECOGNIZED_NAME)


def test_an_explanation_is_one_short_line_whatever_the_client_sent() -> None:
    for answer in (
        choose_door("x" * 60_000, (), SERVED),
        choose_door("localhost", tuple(f"protocol-{i}" * 20 for i in range(5_000)), SERVED),
    ):
        assert isinstance(answer, TurnAway)
        assert len(answer.explanation) < 2_500
        assert "\n" not in answer.explanation


@pytest.mark.parametrize(
    "name",
    [
        "",
        "https://localhost",
        "localhost:443",
        "localhost.",
        "a b",
        "a/b",
        "10.0.0.0/8",
        "*",
        "a.*.b",
        "é.example",
        "a_b",
        f"{'a' * 64}.b",
        "a." * 126 + "ab",  # 254 characters
    ],
)
def test_what_is_not_a_host_name_cannot_be_served(name: str) -> None:
    with pytest.raises(ConfigurationError):
        ServedNames(["localhost", name])


def test_nothing_to_serve_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no host name"):
        ServedNames([])


def test_an_ipv6_address_is_served_in_any_spelling() -> None:
    assert "0:0:0:0:0:0:0:1" in ServedNames(["::1"])
