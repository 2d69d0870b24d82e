"""Where the three names are found, what wins when they came twice, and what a mistake is told in each place."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.carriage import write_query
from iot_customauth_client.local.authentication import Authentication, Question, Refusal
from iot_customauth_client.local.authorizers import LocalAuthorizer
from iot_customauth_client.local.choices import Choices
from iot_customauth_client.local.presented import Carrier, HttpPart, MqttPart, Presented
from iot_customauth_client.local.redaction import scrub, shown_event, shown_result

Place = Callable[..., Presented]
NAME, SIGNATURE = "x-amz-customauthorizer-name", "x-amz-customauthorizer-signature"


def function(event: object, context: object) -> dict[str, object]:
    return {"isAuthenticated": False}


@pytest.fixture(scope="module")
def keys() -> tuple[str, bytes]:
    """A signature over `to+ken/=`, and the public key that it fits."""
    import base64

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    private = rsa.generate_private_key(65_537, 2048)
    signed = private.sign(b"to+ken/=", padding.PKCS1v15(), hashes.SHA256())
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(signed).decode(), public


@pytest.fixture(scope="module")
def authentication(keys: tuple[str, bytes]) -> Authentication:
    return Authentication(
        {
            "plain": LocalAuthorizer(function, signing_disabled=True, token_key_name="Token"),
            "signed": LocalAuthorizer(function, token_key_name="Token", public_keys=(keys[1],)),
            "off": LocalAuthorizer(function, signing_disabled=True, status="INACTIVE"),
        },
        None,
    )


def in_headers(*headers: tuple[str, str], query: str | None = None, username: str | None = None) -> Presented:
    mqtt = None if username is None else MqttPart(username, None, "client_id")
    lower = tuple((name.lower(), value) for name, value in (("Host", "localhost"), *headers))
    return Presented("localhost", HttpPart(lower, query), mqtt)


def in_query(*parameters: tuple[str, str]) -> Presented:
    return in_headers(query=write_query(parameters))


def in_username(*parameters: tuple[str, str]) -> Presented:
    return Presented("localhost", None, MqttPart(f"user?{write_query(parameters)}", None, "client_id"))


PLACES = pytest.mark.parametrize("place", [in_headers, in_query, in_username])


def refusal_of(authentication: Authentication, presented: Presented) -> Refusal:
    refusal = authentication.question(presented, connection_id="id")
    assert isinstance(refusal, Refusal)
    return refusal


@PLACES
def test_a_signature_with_plus_and_slash_reaches_the_authorizer_from_every_place(
    place: Place, authentication: Authentication, keys: tuple[str, bytes]
) -> None:
    presented = place((NAME, "signed"), ("Token", "to+ken/="), (SIGNATURE, keys[0]))
    question = authentication.question(presented, connection_id="id")
    assert isinstance(question, Question)
    assert question.event.get("token") == "to+ken/="
    assert question.event["signatureVerified"] is True
    assert authentication.wanted(presented) == "signed"


@PLACES
@pytest.mark.parametrize(
    ("parameters", "cause"),
    [
        ([], "authorizer_not_named"),
        ([(NAME, "palin")], "authorizer_unknown"),
        ([(NAME, "off")], "authorizer_inactive"),
        ([(NAME, "signed")], "token_missing"),
        ([(NAME, "signed"), ("Token", "t")], "signature_missing"),
        ([(NAME, "signed"), ("Token", "t"), (SIGNATURE, "c2VjcmV0")], "signature_invalid"),
        ([(NAME, "plain"), (NAME, "plain")], "parameter_repeated"),
        ([(NAME, "signed"), ("Token", "t"), ("Token", "t")], "parameter_repeated"),
    ],
)
def test_a_mistake_has_one_cause_wherever_it_is_made(
    place: Place, parameters: list[tuple[str, str]], cause: str, authentication: Authentication
) -> None:
    refusal = refusal_of(authentication, place(*parameters))
    assert refusal.cause == cause
    assert "c2VjcmV0" not in refusal.explanation


def test_advice_is_for_the_place_where_the_mistake_was_made(authentication: Authentication) -> None:
    missing = [(NAME, "signed"), ("Token", "t")]
    assert "base64 as it is" in refusal_of(authentication, in_headers(*missing)).explanation
    assert "URL's query holds none" in refusal_of(authentication, in_query(*missing)).explanation
    assert "MQTT user name holds none" in refusal_of(authentication, in_username(*missing)).explanation


def test_a_percent_encoded_signature_in_a_header_is_named(authentication: Authentication) -> None:
    presented = in_headers((NAME, "signed"), ("Token", "t"), (SIGNATURE, "a%2Bb%3D"))
    assert "headers are not decoded" in refusal_of(authentication, presented).explanation


def test_a_signature_beside_no_name_is_not_taken_for_a_misspelt_name(authentication: Authentication) -> None:
    for place in (in_headers, in_query, in_username):
        assert "is not read" not in refusal_of(authentication, place((SIGNATURE, "abc"))).explanation
    assert "is not read" not in refusal_of(authentication, in_headers(("X-Amz-Date", "now"))).explanation
    misspelt = in_headers(("X-Amz-Custom-Authorizer-Name", "plain"))
    assert "`x-amz-custom-authorizer-name` is not read" in refusal_of(authentication, misspelt).explanation


def test_a_token_that_came_elsewhere_is_said_to_have_come_there(authentication: Authentication) -> None:
    presented = in_headers((NAME, "signed"), query="Token=abc")
    assert "It came in the URL's query" in refusal_of(authentication, presented).explanation


def test_headers_win_over_the_query_and_the_query_over_the_user_name(authentication: Authentication) -> None:
    username = f"user?{NAME}=signed"
    everywhere = in_headers((NAME, "plain"), query=f"{NAME}=off", username=username)
    assert authentication.carrier(everywhere) is Carrier.HEADERS
    assert authentication.wanted(everywhere) == "plain"
    ((cause, explanation),) = authentication.warnings(everywhere)
    assert cause == "credentials_in_two_places"
    assert "the HTTP headers and also in the URL's query and the MQTT user name" in explanation
    query = in_headers(query=f"{NAME}=off", username=username)
    assert authentication.carrier(query) is Carrier.QUERY
    inside = in_headers(query="a=b", username=username)
    assert authentication.carrier(inside) is Carrier.USERNAME
    assert authentication.warnings(inside) == []


def test_an_upgrade_without_credentials_waits_for_connect(authentication: Authentication) -> None:
    assert authentication.check_upgrade(in_headers()) is None
    assert authentication.check_upgrade(in_headers((NAME, "plain"))) is None
    refusal = authentication.check_upgrade(in_headers((NAME, "nobody")))
    assert refusal is not None
    assert refusal.cause == "authorizer_unknown"


@pytest.mark.parametrize(
    "presented",
    [
        in_headers(("Authorization", "AWS4-HMAC-SHA256 Credential=x")),
        in_headers((NAME, "plain"), query="X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=x"),
    ],
)
def test_a_request_signed_with_aws_credentials_is_told_that_it_needs_no_authorizer(
    presented: Presented, authentication: Authentication
) -> None:
    assert refusal_of(authentication, presented).cause == "sigv4"
    refusal = authentication.check_upgrade(presented)
    assert refusal is not None
    assert "SigV4" in refusal.explanation


def test_a_token_needs_no_password(authentication: Authentication) -> None:
    question = authentication.question(in_username((NAME, "plain"), ("Token", "t")), connection_id="id")
    assert isinstance(question, Question)
    assert question.event.get("token") == "t"
    assert "password" not in question.event.get("protocolData", {}).get("mqtt", {})


@PLACES
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_parameters_may_come_in_any_order(
    place: Place, order: tuple[int, ...], authentication: Authentication, keys: tuple[str, bytes]
) -> None:
    parameters = ((NAME, "signed"), ("Token", "to+ken/="), (SIGNATURE, keys[0]))
    question = authentication.question(place(*(parameters[index] for index in order)), connection_id="id")
    assert isinstance(question, Question)
    assert question.event["signatureVerified"] is True


@pytest.mark.parametrize(
    "appended",
    [
        "SDK=JavaV2&Version=1.2.3",
        "SDK=IoTDeviceSDK%2FC&Platform=Linux&Metadata=(IoTSDKVersion=1;IoTSDKMetricsVersion=2)",
    ],
)
def test_what_an_sdk_appends_to_the_user_name_does_no_harm_and_is_seen(
    appended: str, authentication: Authentication, keys: tuple[str, bytes]
) -> None:
    signed = write_query(((NAME, "signed"), ("Token", "to+ken/="), (SIGNATURE, keys[0])))
    username = f"user?{signed}&{appended}"
    question = authentication.question(Presented("h", None, MqttPart(username, None, "c")), connection_id="id")
    assert isinstance(question, Question)
    assert question.event["signatureVerified"] is True
    assert question.event.get("protocolData", {}).get("mqtt", {}).get("username") == username


def test_an_unsigned_token_may_stand_in_the_query_of_the_user_name(authentication: Authentication) -> None:
    question = authentication.question(in_username((NAME, "plain"), ("Token", "to+ken/=")), connection_id="id")
    assert isinstance(question, Question)
    assert (question.event.get("token"), question.event["signatureVerified"]) == ("to+ken/=", False)


def test_aws_credentials_are_not_a_question_for_the_default_authorizer() -> None:
    authentication = Authentication({"default": LocalAuthorizer(function, signing_disabled=True)}, "default")
    assert isinstance(authentication.question(in_headers(), connection_id="id"), Question)
    signed = in_headers(("Authorization", "AWS4-HMAC-SHA256 Credential=x"))
    assert refusal_of(authentication, signed).cause == "sigv4"


def test_the_default_authorizers_token_key_is_one_of_the_names() -> None:
    authorizer = LocalAuthorizer(function, signing_disabled=True, token_key_name="Token")
    authentication = Authentication({"default": authorizer}, "default")
    presented = in_headers(("TOKEN", "abc"), username="user")
    assert authentication.carrier(presented) is Carrier.HEADERS
    question = authentication.question(presented, connection_id="id")
    assert isinstance(question, Question)
    assert question.event.get("token") == "abc"


def test_the_event_of_an_upgrade_is_as_documented(authentication: Authentication) -> None:
    presented = in_headers(("X-Two", "1"), ("X-Two", "2"), query=f"{NAME}=plain&Token=a%2Bb", username="user")
    question = authentication.question(presented, connection_id="id")
    assert isinstance(question, Question)
    assert question.event == {
        "token": "a+b",
        "protocolData": {
            "tls": {"serverName": "localhost"},
            "http": {
                "headers": {"host": "localhost", "x-two": "1, 2"},
                "queryString": f"?{NAME}=plain&Token=a%2Bb",
            },
            "mqtt": {"username": "user", "clientId": "client_id"},
        },
        "protocols": ["tls", "http", "mqtt"],
        "signatureVerified": False,
        "connectionMetadata": {"id": "id"},
    }


def test_nothing_of_headers_and_query_is_shown_that_may_be_a_secret(authentication: Authentication) -> None:
    presented = in_headers(
        (NAME, "plain"), ("Authorization", "Bearer s3cr3t"), ("Cookie", "c00kie"), query="Token=t%2Bken&qos=1"
    )
    question = authentication.question(presented, connection_id="id")
    assert isinstance(question, Question)
    shown = repr(shown_event(question.event))
    assert "s3cr3t" not in shown
    assert "c00kie" not in shown
    assert "ken" not in shown.replace("Token", "")
    assert "'host': 'localhost'" in shown
    assert "authorization" in shown
    assert scrub("failed on Bearer s3cr3t and t+ken and t%2Bken", question.event).count("<hidden>") == 3
    assert shown_result({"principalId": "t+ken", "disconnectAfterInSeconds": 1}, question.event) == {
        "principalId": "<hidden>",
        "disconnectAfterInSeconds": 1,
    }
    assert "s3cr3t" not in repr(presented)
    assert "s3cr3t" not in repr(presented.http)


def test_an_empty_name_is_a_name_and_leads_nowhere() -> None:
    authorizer = LocalAuthorizer(function, signing_disabled=True)
    authentication = Authentication({"default": authorizer}, "default")
    presented = in_username((NAME, ""))
    assert refusal_of(authentication, presented).cause == "authorizer_unknown"
    assert authentication.wanted(presented) is None
    assert authentication.wanted(in_username(("a", "b"))) == "default"


@pytest.mark.parametrize("place", [in_headers, in_query, in_username])
def test_where_no_name_may_be_given_the_carrier_is_found_by_the_defaults_token(place: Callable[..., Presented]) -> None:
    authorizer = LocalAuthorizer(function, signing_disabled=True, token_key_name="Token")
    authentication = Authentication({"default": authorizer}, "default", may_name=False)
    for sent in ((), ((NAME, "''"),), ((NAME, "nobody"),)):
        presented = place(("Token", "t"), *sent)
        question = authentication.question(presented, connection_id="id")
        assert isinstance(question, Question)
        assert (question.name, question.event.get("token")) == ("default", "t")
        assert [cause for cause, _ in authentication.warnings(presented)] == ["override_ignored"] * bool(sent)


@given(names=st.lists(st.text(max_size=20), max_size=2), place=st.sampled_from([in_headers, in_query, in_username]))
def test_where_no_name_may_be_given_nobody_but_the_default_is_ever_asked(names: list[str], place: Place) -> None:
    authorizers = {name: LocalAuthorizer(function, signing_disabled=True) for name in ("default", "other")}
    for names_sent in (names, ["other"], ["default"]):
        presented = place(*((NAME, name) for name in names_sent))
        for choice in (Choices(), Choices(disallowed_override="refuse")):
            authentication = Authentication(authorizers, "default", choice, may_name=False)
            question = authentication.question(presented, connection_id="id")
            if isinstance(question, Question):
                assert question.name == "default"
            else:
                assert question.cause in ("override_not_allowed", "parameter_repeated")


@pytest.mark.parametrize("place", [in_headers, in_query, in_username])
@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("x-amz-customauthorizer-nmae", NAME),
        ("x-amz-custom-authorizer-name", NAME),
        ("x_amz_customauthoriser_name", NAME),
        (f"{NAME} ", NAME),
        ("x-amz-customauthorizer-signatur", SIGNATURE),
    ],
)
def test_an_almost_reserved_parameter_is_warned_about_where_a_default_authorizer_is_asked(
    place: Place, wrong: str, meant: str
) -> None:
    authentication = Authentication({"own": LocalAuthorizer(function, signing_disabled=True)}, "own")
    ((cause, explanation),) = authentication.warnings(place((wrong, "s3cr3t")))
    assert cause == "parameter_misspelt"
    assert f"did you mean {meant}" in explanation
    assert "s3cr3t" not in explanation
    both = authentication.warnings(place((wrong, "other"), (meant, "own")))
    assert "parameter_misspelt" not in dict(both)


@pytest.mark.parametrize("place", [in_query, in_username])
def test_a_reserved_parameter_in_capitals_is_warned_about_where_case_counts(place: Place) -> None:
    authentication = Authentication({"own": LocalAuthorizer(function, signing_disabled=True)}, "own")
    ((cause, explanation),) = authentication.warnings(place(("X-Amz-CustomAuthorizer-Name", "own")))
    assert (cause, explanation.endswith(f"did you mean {NAME}, in lower case?")) == ("parameter_misspelt", True)


@pytest.mark.parametrize("place", [in_headers, in_query, in_username])
def test_other_parameters_and_a_token_key_that_is_alike_are_not_warned_about(place: Place) -> None:
    key = "X-Amz-CustomAuthorizer-Names"
    authorizer = LocalAuthorizer(function, signing_disabled=True, token_key_name=key)
    authentication = Authentication({"own": authorizer}, "own")
    assert authentication.warnings(place((key, "t"), ("x-amz-customauthorizer-jwt", "t"), ("x-amz-date", "t"))) == []


def test_without_a_default_authorizer_the_refusal_says_what_is_misspelt() -> None:
    authentication = Authentication({"own": LocalAuthorizer(function, signing_disabled=True)}, None)
    presented = in_username(("x-amz-customauthorizer-nmae", "own"))
    assert authentication.warnings(presented) == []
    assert "x-amz-customauthorizer-nmae" in refusal_of(authentication, presented).explanation
