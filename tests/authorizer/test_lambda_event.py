"""The Lambda event: built as captured, and read back."""

import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.authorizer import Request, build_event, parse_query
from iot_customauth_client.carriage import read_username

ID = "54300d4a-d787-bb33-bbab-e61eb9f07893"


def event(**mqtt: object) -> dict[str, Any]:
    return {"protocolData": {"mqtt": mqtt}, "protocols": ["mqtt"], "signatureVerified": False}


def test_the_reference_flow_gives_the_captured_event_key_by_key_and_in_order() -> None:
    built = build_event(
        connection_id=ID,
        signature_verified=False,
        server_name="x-ats.iot.ap-northeast-1.amazonaws.com",
        username="user01?x-amz-customauthorizer-name=custom_auth_mqtt_2021_08_21",
        password=b"pass01",
        client_id="client_id",
    )
    assert json.dumps(built, separators=(",", ":")) == (
        '{"protocolData":{"tls":{"serverName":"x-ats.iot.ap-northeast-1.amazonaws.com"},'
        '"mqtt":{"username":"user01?x-amz-customauthorizer-name=custom_auth_mqtt_2021_08_21",'
        '"password":"cGFzczAx","clientId":"client_id"}},"protocols":["tls","mqtt"],"signatureVerified":false,'
        f'"connectionMetadata":{{"id":"{ID}"}}}}'
    )


def test_a_token_is_there_only_if_it_was_found_and_then_comes_first() -> None:
    built = build_event(connection_id=ID, signature_verified=True, token="t", server_name="h", client_id="c")
    assert list(built) == ["token", "protocolData", "protocols", "signatureVerified", "connectionMetadata"]
    assert built["signatureVerified"] is True


def test_an_https_request_has_lower_case_headers_and_a_query_with_its_question_mark() -> None:
    built = build_event(
        connection_id=ID,
        signature_verified=False,
        server_name="h",
        headers={"Host": "h", "X-Amz-CustomAuthorizer-Name": "A"},
        query_string="qos=1",
    )
    assert built["protocols"] == ["tls", "http"]
    assert built["protocolData"] == {
        "tls": {"serverName": "h"},
        "http": {"headers": {"host": "h", "x-amz-customauthorizer-name": "A"}, "queryString": "?qos=1"},
    }


def test_websocket_has_all_three_protocols_in_the_documented_order() -> None:
    built = build_event(
        connection_id=ID, signature_verified=False, server_name="h", headers={}, query_string="?a=b", client_id="c"
    )
    assert built["protocols"] == ["tls", "http", "mqtt"]
    assert list(built["protocolData"]) == ["tls", "http", "mqtt"]
    assert built["protocolData"]["http"]["queryString"] == "?a=b"


def test_what_was_not_sent_is_not_there() -> None:
    built = build_event(connection_id=ID, signature_verified=False, token="t")
    assert built == {
        "token": "t",
        "protocols": [],
        "signatureVerified": False,
        "connectionMetadata": {"id": ID},
    }
    without_password = build_event(connection_id=ID, signature_verified=False, username="u", client_id="c")
    assert without_password["protocolData"] == {"mqtt": {"username": "u", "clientId": "c"}}
    no_query = build_event(connection_id=ID, signature_verified=False, headers={"a": "b"}, query_string="")
    assert no_query["protocolData"] == {"http": {"headers": {"a": "b"}}}


@pytest.mark.parametrize(
    ("username", "base", "parameters"),
    [
        ("user01?x-amz-customauthorizer-name=A%2CB", "user01", {"x-amz-customauthorizer-name": "A,B"}),
        ("user01", "user01", {}),
        ("?x-token=a+b%20c", "", {"x-token": "a+b c"}),
        ("u?a=b?c=d", "u?a=b", {"c": "d"}),
        ("u?", "u", {}),
        ("u%41", "u%41", {}),
        ("u?flag&a=b=c&&d=", "u", {"flag": "", "a": "b=c", "d": ""}),
        ("u?a=%2541", "u", {"a": "%41"}),
    ],
)
def test_the_user_name_is_split_at_the_last_question_mark_and_decoded_once(
    username: str, base: str, parameters: dict[str, str]
) -> None:
    request = Request.from_event(event(username=username))
    assert request.username == base
    assert request.parameters == parameters


@given(st.text())
def test_the_reader_agrees_with_the_carriage_for_any_user_name(username: str) -> None:
    read = read_username(username)
    if read.repeated:
        with pytest.raises(ValueError, match="given twice"):
            Request.from_event(event(username=username))
        return
    request = Request.from_event(event(username=username))
    assert (request.username, dict(request.parameters)) == (read.base, dict(read.parameters))


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_any_parameters_come_back_as_they_were(parameters: dict[str, str]) -> None:
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items())
    assert parse_query(query) == parameters


@given(
    password=st.none() | st.binary(),
    client_id=st.none() | st.text(),
    server_name=st.none() | st.text(),
    token=st.none() | st.text(),
    headers=st.none() | st.dictionaries(st.sampled_from(["host", "x-token"]), st.text()),
    username=st.none() | st.text(alphabet="ab%"),
    verified=st.booleans(),
)
def test_reading_gives_back_what_was_built(
    password: bytes | None,
    client_id: str | None,
    server_name: str | None,
    token: str | None,
    headers: dict[str, str] | None,
    username: str | None,
    verified: bool,
) -> None:
    built = build_event(
        connection_id=ID,
        signature_verified=verified,
        server_name=server_name,
        token=token,
        headers=headers,
        username=username,
        password=password,
        client_id=client_id,
    )
    request = Request.from_event(json.loads(json.dumps(built)))
    assert (request.password, request.client_id, request.server_name) == (password, client_id, server_name)
    assert (request.token, request.username, request.headers) == (token, username or "", headers or {})
    assert (request.signature_verified, request.connection_id) == (verified, ID)
    assert request.protocols == tuple(built["protocols"])


def test_headers_are_found_in_lower_case() -> None:
    built = {**event(), "protocolData": {"http": {"headers": {"X-Token": "t"}, "queryString": "?a=b"}}}
    request = Request.from_event(built)
    assert request.headers["x-token"] == "t"
    assert request.query_string == "?a=b"


def test_the_repr_shows_no_secret() -> None:
    built = build_event(
        connection_id=ID,
        signature_verified=False,
        server_name="host",
        token="hidden-token",
        headers={"x-token": "hidden-header"},
        query_string="token=hidden-query",
        username="hidden-user?x=hidden-parameter",
        password=b"hidden-password",
        client_id="client_id",
    )
    shown = repr(Request.from_event(built))
    assert "hidden" not in shown
    assert "client_id='client_id'" in shown
    assert b64encode(b"hidden-password").decode() not in shown


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"signatureVerified": None}, "signatureVerified"),
        ({"signatureVerified": "hidden"}, "signatureVerified"),
        ({"protocols": "hidden"}, "protocols"),
        ({"protocols": [1]}, "protocols"),
        ({"token": 1}, "token"),
        ({"token": None}, "token"),
        ({"protocolData": "hidden"}, "protocolData"),
        ({"protocolData": {"tls": "hidden"}}, "protocolData.tls"),
        ({"protocolData": {"tls": {"serverName": 1}}}, "protocolData.tls.serverName"),
        ({"protocolData": {"http": []}}, "protocolData.http"),
        ({"protocolData": {"http": {"headers": ["hidden"]}}}, "protocolData.http.headers"),
        ({"protocolData": {"http": {"headers": {"a": 1}}}}, "protocolData.http.headers"),
        ({"protocolData": {"http": {"queryString": 1}}}, "protocolData.http.queryString"),
        ({"protocolData": {"mqtt": None}}, "protocolData.mqtt"),
        ({"protocolData": {"mqtt": {"username": 1}}}, "protocolData.mqtt.username"),
        ({"protocolData": {"mqtt": {"username": "u?hidden=1&hidden=2"}}}, "protocolData.mqtt.username"),
        ({"protocolData": {"mqtt": {"password": "hidd!en=="}}}, "protocolData.mqtt.password"),
        ({"protocolData": {"mqtt": {"password": "hiddené"}}}, "protocolData.mqtt.password"),
        ({"protocolData": {"mqtt": {"clientId": 1}}}, "protocolData.mqtt.clientId"),
        ({"connectionMetadata": {"id": 1}}, "connectionMetadata.id"),
        ({"connectionMetadata": ID}, "connectionMetadata"),
    ],
)
def test_a_wrong_shape_is_named_by_its_key_and_shows_no_value(change: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}\b") as caught:
        Request.from_event({**event(), **change})
    assert "hidd" not in str(caught.value)


@pytest.mark.parametrize("key", ["signatureVerified", "protocols"])
def test_a_key_that_is_always_there_must_be_there(key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}"):
        Request.from_event({name: value for name, value in event().items() if name != key})


def test_an_event_of_test_invoke_with_a_token_alone_can_be_read() -> None:
    request = Request.from_event({"token": "t", "signatureVerified": True, "protocols": []})
    assert (request.token, request.username, request.password, request.connection_id) == ("t", "", None, None)
