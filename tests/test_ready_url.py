"""`Credentials.from_url`: a URL that somebody wrote gives settings and credentials; what cannot be meant is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from token_support import all_shown_by

from iot_customauth_client import ConfigurationError, ConnectionSettings, Credentials
from iot_customauth_client.carriage import query_parameters, write_query
from iot_customauth_client.limits import RESERVED_PARAMETERS
from iot_customauth_client.ready_url import ReadyUrl, read_url

SECRET = "QmarkerQ"
HOST = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"
NAME, SIGNATURE = RESERVED_PARAMETERS

# -- any legal credentials that a query can carry ---------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
key_names = st.text(letters, min_size=1, max_size=128).filter(lambda text: text.lower() not in RESERVED_PARAMETERS)
tokens = any_text.filter(lambda text: text.strip("*") != "")
signatures = st.text(letters[:-2] + "+/", min_size=1, max_size=350) | st.sampled_from(["ab+/==", "+", "//8=", "a+b"])
parameter_names = any_text.filter(lambda text: text and text.lower() not in (*RESERVED_PARAMETERS, "x-amz-signature"))


@st.composite
def query_credentials(draw: st.DrawFn) -> Credentials:
    """Draw any credentials without base user name and password, which no query has."""
    key = draw(st.none() | key_names)
    pairs = draw(
        st.lists(
            st.tuples(parameter_names, any_text.filter(lambda text: not text or text.strip("*") != "")),
            max_size=4,
            unique_by=lambda pair: pair[0].lower(),
        )
    )
    assume(key is None or key.lower() not in [name.lower() for name, _ in pairs])
    return Credentials(
        authorizer=draw(st.none() | st.text(letters + "=,@", min_size=1, max_size=128)),
        token_key_name=key,
        token=None if key is None else draw(tokens),
        signature=None if key is None else draw(st.none() | signatures),
        parameters=dict(pairs),
    )


@given(query_credentials())
def test_a_url_that_we_wrote_gives_the_credentials_back(credentials: Credentials) -> None:
    query = write_query(query_parameters(credentials.reveal()))
    assume(query)
    settings, read = Credentials.from_url(f"wss://{HOST}/mqtt?{query}", token_key_name=credentials.token_key_name)
    assert read == credentials
    assert settings == ConnectionSettings(endpoint=HOST, transport="websocket", credentials_in="query")


@given(query_credentials())
def test_a_signed_token_alone_needs_no_key_name(credentials: Credentials) -> None:
    assume(credentials.signature is not None)
    alone = credentials.model_copy(update={"parameters": {}})
    query = write_query(query_parameters(alone.reveal()))
    assert Credentials.from_url(f"wss://{HOST}/mqtt?{query}")[1] == alone
    topics = f"https://{HOST}/topics/a%2Fb?qos=1&{query}&contentType=text%2Fplain"
    if alone.token_key_name not in ("qos", "contentType"):
        assert Credentials.from_url(topics)[1] == alone


# -- as vendors write them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signature", ["ab+/cd==", "ab%2B%2Fcd%3D%3D", "ab%2b/cd%3d="])
def test_a_plus_in_the_signature_stays_a_plus_however_it_is_written(signature: str) -> None:
    url = f"wss://{HOST}/mqtt?{NAME}=A&token=t1+2%2B3&{SIGNATURE}={signature}"
    raw = Credentials.from_url(url)[1].reveal()
    assert raw.signature == "ab+/cd=="
    assert raw.token == "t1+2+3"
    assert raw.token_key_name == "token"
    assert raw.authorizer == "A"


def test_the_order_of_the_parts_does_not_matter() -> None:
    one = Credentials.from_url(f"wss://{HOST}/mqtt?{NAME}=A&token=t&{SIGNATURE}=c2ln")[1]
    other = Credentials.from_url(f"wss://{HOST}/mqtt?{SIGNATURE}=c2ln&token=t&{NAME}=A")[1]
    assert one == other


def test_what_is_read_is_sent_in_canonical_form() -> None:
    raw = Credentials.from_url(f"wss://{HOST}/mqtt?token=a/b+c%7e&{SIGNATURE}=ab+/&{NAME}=A")[1].reveal()
    assert write_query(query_parameters(raw)) == f"{NAME}=A&{SIGNATURE}=ab%2B%2F&token=a%2Fb%2Bc~"


def test_values_may_hold_question_marks_equals_signs_and_unicode() -> None:
    raw = Credentials.from_url(f"wss://{HOST}/mqtt?token=a?b=c/\u00e5&{SIGNATURE}=c2ln")[1].reveal()
    assert raw.token == "a?b=c/\u00e5"


def test_without_a_signature_the_token_is_named_or_stays_a_parameter() -> None:
    url = f"wss://{HOST}/mqtt?{NAME}=A&token=t&tenant=7"
    assert Credentials.from_url(url)[1] == Credentials(authorizer="A", parameters={"token": "t", "tenant": "7"})
    assert Credentials.from_url(url, token_key_name="token")[1] == Credentials.from_bearer_token(
        "t", token_key_name="token", authorizer="A", parameters={"tenant": "7"}
    )


@pytest.mark.parametrize(
    ("authority", "endpoint", "port"),
    [
        (HOST, HOST, 443),
        (f"{HOST}:443", HOST, 443),
        (f"{HOST}:", HOST, 443),
        ("localhost:8443", "localhost", 8443),
        ("iot.example.com", "iot.example.com", 443),
    ],
)
def test_host_and_port_become_settings(authority: str, endpoint: str, port: int) -> None:
    settings, _ = Credentials.from_url(f"wss://{authority}/mqtt?token=t")
    assert (settings.endpoint, settings.port) == (endpoint, port)
    assert (settings.transport, settings.credentials_in) == ("websocket", "query")


@pytest.mark.parametrize("scheme", ["wss", "WSS", "https", "HTTPS"])
def test_both_schemes_lead_to_mqtt_in_any_case(scheme: str) -> None:
    assert Credentials.from_url(f"{scheme}://{HOST}/mqtt?token=t")[1].parameters == {"token": "t"}


def test_what_a_publish_says_of_its_message_is_no_credential() -> None:
    publish = "qos=1&retain=false&contentType=a%2Fb&responseTopic=r&messageExpiry=5"
    url = f"https://{HOST}/topics/a/b?{publish}&jwt=t&{SIGNATURE}=c2ln"
    assert Credentials.from_url(url)[1] == Credentials.from_signed_token("t", "c2ln", token_key_name="jwt")
    assert Credentials.from_url(f"https://{HOST}/topics/a?qos=t", token_key_name="qos")[1].reveal().token == "t"
    assert Credentials.from_url(f"wss://{HOST}/mqtt?qos=1")[1].parameters == {"qos": "1"}


def test_an_expiry_may_be_given() -> None:
    credentials = Credentials.from_url(f"wss://{HOST}/mqtt?token=t", expires_in_seconds=60)[1]
    assert credentials.expires_at is not None


# -- what is refused --------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no URL": (lambda: Credentials.from_url(SECRET), "is none: it must look like"),
    "nothing": (lambda: Credentials.from_url(""), "is none"),
    "no TLS": (lambda: Credentials.from_url(f"ws://{HOST}/mqtt?t={SECRET}"), "without TLS.*wss://"),
    "no TLS either": (lambda: Credentials.from_url(f"http://{HOST}/topics/a?t={SECRET}"), "without TLS.*https://"),
    "plain MQTT": (lambda: Credentials.from_url(f"mqtts://{HOST}?t={SECRET}"), "from_username"),
    "another scheme": (
        lambda: Credentials.from_url(f"{SECRET}://{HOST}/mqtt?t=1"),
        "must begin with wss:// or https://",
    ),
    "no host": (lambda: Credentials.from_url(f"wss:///mqtt?t={SECRET}"), "has no host name"),
    "a bad host": (lambda: Credentials.from_url(f"wss://a..b/mqtt?t={SECRET}"), "endpoint must be a host name"),
    "an address": (lambda: Credentials.from_url(f"wss://[::1]/mqtt?t={SECRET}"), "has no host name"),
    "a port too large": (lambda: Credentials.from_url(f"wss://{HOST}:70000/mqtt?t={SECRET}"), "port"),
    "a port that is none": (lambda: Credentials.from_url(f"wss://{HOST}:{SECRET}/mqtt?t=1"), "has no host name"),
    "a password": (lambda: Credentials.from_url(f"wss://u:{SECRET}@{HOST}/mqtt?t=1"), "from_password"),
    "another path": (lambda: Credentials.from_url(f"wss://{HOST}/{SECRET}?t=1"), "has another path"),
    "no path": (lambda: Credentials.from_url(f"wss://{HOST}?t={SECRET}"), "has another path"),
    "topics by WebSocket": (lambda: Credentials.from_url(f"wss://{HOST}/topics/{SECRET}?t=1"), "has another path"),
    "a fragment": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?t=a#{SECRET}"), "write it as %23"),
    "a space": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?t={SECRET} b"), "was probably a '\\+'"),
    "a line break": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?\n  t={SECRET}"), "comes from wrapping"),
    "an end of line": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?t={SECRET}\n"), "holds white space"),
    "no query": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt"), "a shell cuts it at a bare '&'"),
    "an empty query": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?"), "has no credentials"),
    "only a message": (lambda: Credentials.from_url(f"https://{HOST}/topics/{SECRET}?qos=1"), "has no credentials"),
    "not UTF-8": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?t={SECRET}%ff"), "are not UTF-8"),
    "SigV4": (
        lambda: Credentials.from_url(f"wss://{HOST}/mqtt?X-Amz-Algorithm=AWS4&X-Amz-Signature={SECRET}"),
        r"\(SigV4\).*awsiotsdk",
    ),
    "given twice": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?t={SECRET}&t=1"), "URL gives t more than once"),
    "two candidates": (
        lambda: Credentials.from_url(f"wss://{HOST}/mqtt?a={SECRET}&b={SECRET}&{SIGNATURE}=c2ln"),
        "URL has a signature, but which parameter .*(\n.*)*has besides name and signature: a, b",
    ),
    "no candidate": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?{SIGNATURE}={SECRET}"), "cannot be told"),
    "another key name": (
        lambda: Credentials.from_url(f"wss://{HOST}/mqtt?a={SECRET}", token_key_name="b"),
        "URL has no parameter 'b'",
    ),
    "encoded twice": (
        lambda: Credentials.from_url(f"wss://{HOST}/mqtt?t=1&{SIGNATURE}={SECRET}%252B"),
        "signature holds a '%'",
    ),
    "a decoded plus": (
        lambda: Credentials.from_url(f"wss://{HOST}/mqtt?t=1&{SIGNATURE}={SECRET}%20x"),
        "signature holds spaces",
    ),
    "another type": (lambda: Credentials.from_url(b"wss://"), "URL must be a str"),  # type: ignore[arg-type]
    "lone surrogate": (lambda: Credentials.from_url(f"wss://{HOST}/mqtt?t={SECRET}\ud800"), "lone surrogate"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_meant_is_refused_and_never_shown(what: str) -> None:
    bad, message = BAD[what]
    with pytest.raises(ConfigurationError, match=message) as caught:
        bad()
    assert SECRET not in all_shown_by(caught.value)


@given(st.text(max_size=40) | st.text("ws:/h?&=%#@[]+A", max_size=30).map("wss://".__add__))
def test_any_text_is_taken_or_refused_by_our_own_error(url: str) -> None:
    try:
        settings, credentials = Credentials.from_url(url)
    except ConfigurationError:
        return
    assert settings.endpoint in url
    assert query_parameters(credentials.reveal())


@given(st.text("aA1+/=%&?2B", min_size=1, max_size=30))
def test_any_query_is_taken_or_refused_by_our_own_error(query: str) -> None:
    try:
        _, credentials = Credentials.from_url(f"wss://{HOST}/mqtt?{query}")
    except ConfigurationError:
        return
    again = write_query(query_parameters(credentials.reveal()))
    assert Credentials.from_url(f"wss://{HOST}/mqtt?{again}")[1] == credentials


def test_what_was_read_is_not_shown() -> None:
    ready = read_url(f"wss://{HOST}/mqtt?t={SECRET}")
    assert ready == ReadyUrl(HOST, 443, (("t", SECRET),))
    assert SECRET not in repr(ready)
