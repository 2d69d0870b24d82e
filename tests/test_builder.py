"""From settings and credentials to real, unstarted awscrt objects; nothing here opens a socket."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import trustme
from awscrt import http, io, mqtt, mqtt5
from credentials_support import all_shown_by

from iot_customauth_client import ConfigurationError, ConnectionBuilder, ConnectionSettings, Credentials, Will
from iot_customauth_client.builder import _OWNED
from iot_customauth_client.runtime import Runtime, runtime

HOST = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"
SECRET = "QmarkerQ"
CREDENTIALS = Credentials.from_password("user01", SECRET, authorizer="custom_auth_mqtt_2021_08_21")
USERNAME = "user01?x-amz-customauthorizer-name=custom_auth_mqtt_2021_08_21"
PROTOCOLS = ("mqtt5", "mqtt311")


@pytest.fixture(scope="module")
def authority() -> bytes:
    return trustme.CA().cert_pem.bytes()


@pytest.fixture
def ca_file(tmp_path: Path, authority: bytes) -> Path:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority)
    return file


@pytest.fixture
def alpn_lists(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Note the ALPN list of every TLS context that is made: awscrt does not tell it afterwards."""
    seen: list[list[str]] = []
    real = io.ClientTlsContext

    def make(options: io.TlsContextOptions) -> io.ClientTlsContext:
        seen.append(list(options.alpn_list or []))
        return real(options)

    monkeypatch.setattr(io, "ClientTlsContext", make)
    return seen


def builder(credentials: Credentials = CREDENTIALS, **settings: Any) -> ConnectionBuilder:
    """Return a builder for the reference flow, with some settings changed."""
    values: dict[str, Any] = {"endpoint": HOST, "client_id": "client_id"} | settings
    return ConnectionBuilder(ConnectionSettings(**values), credentials)


def options_of(**settings: Any) -> mqtt5.ClientOptions:
    """Return the MQTT 5 options for some settings."""
    return builder(**settings).mqtt5_options()


def connect_packet(**settings: Any) -> mqtt5.ConnectPacket:
    """Return the CONNECT packet of MQTT 5 for some settings."""
    packet = options_of(**settings).connect_options
    assert packet is not None
    return packet


# -- MQTT 5 -----------------------------------------------------------------------------------------------------------


def test_mqtt5_is_a_real_client_that_was_not_started() -> None:
    client = builder().mqtt5()
    assert isinstance(client, mqtt5.Client)
    assert client.get_stats().incomplete_operation_count == 0


def test_mqtt5_says_what_the_reference_flow_says() -> None:
    options = options_of(keep_alive_seconds=6)
    packet = options.connect_options
    assert packet is not None
    assert (options.host_name, options.port) == (HOST, 443)
    assert (packet.client_id, packet.username, packet.password) == ("client_id", USERNAME, SECRET.encode())
    assert packet.keep_alive_interval_sec == 6
    assert packet.will is None
    assert options.disable_metrics is True
    assert options.http_proxy_options is None
    assert options.websocket_handshake_transform is None


@pytest.mark.parametrize(
    ("expiry", "behaviour"),
    [
        (0, mqtt5.ClientSessionBehaviorType.CLEAN),
        (3_600, mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS),
        (604_800, mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS),
    ],
)
def test_mqtt5_asks_for_a_clean_session_or_for_its_old_one(
    expiry: int, behaviour: mqtt5.ClientSessionBehaviorType
) -> None:
    options = options_of(session_expiry_seconds=expiry)
    assert options.session_behavior == behaviour
    assert connect_packet(session_expiry_seconds=expiry).session_expiry_interval_sec == expiry


@pytest.mark.parametrize(("keep_alive", "ping_ms"), [(60, 15_000), (6, 5_000), (1, 500), (0, 15_000), (65_535, 15_000)])
def test_mqtt5_pings_within_the_keep_alive(keep_alive: int, ping_ms: int) -> None:
    options = options_of(keep_alive_seconds=keep_alive)
    assert options.ping_timeout_ms == ping_ms
    assert connect_packet(keep_alive_seconds=keep_alive).keep_alive_interval_sec == keep_alive
    assert isinstance(mqtt5.Client(options), mqtt5.Client)


def test_one_attempt_lasts_as_long_as_was_asked() -> None:
    options = options_of(connect_timeout_seconds=7.5)
    assert options.connack_timeout_ms == 7_500
    assert options.socket_options is not None
    assert options.socket_options.connect_timeout_ms == 7_500
    assert builder(connect_timeout_seconds=7.5).mqtt311().socket_options.connect_timeout_ms == 7_500


def test_mqtt5_carries_the_will() -> None:
    will = connect_packet(will=Will("gone", payload=b"\x00x", qos=1, retain=True)).will
    assert will is not None
    assert (will.topic, will.payload, will.qos, will.retain) == ("gone", b"\x00x", mqtt5.QoS.AT_LEAST_ONCE, True)
    assert isinstance(builder(will=Will("gone", payload="x")).mqtt5(), mqtt5.Client)


def test_further_options_are_passed_on_by_awscrts_names() -> None:
    def stopped(_data: mqtt5.LifecycleStoppedData) -> None: ...

    options = builder().mqtt5_options(on_lifecycle_event_stopped_fn=stopped, connack_timeout_ms=1, ack_timeout_sec=9)
    assert options.on_lifecycle_event_stopped_fn is stopped
    assert (options.connack_timeout_ms, options.ack_timeout_sec) == (1, 9)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("connack_timeout", "connack_timeout_ms"),
        ("on_publish_callback", "on_publish_callback_fn"),
        ("max_reconnect_delay", "max_reconnect_delay_ms"),
    ],
)
def test_an_option_that_awscrt_does_not_have_is_refused_with_the_nearest_one(name: str, meant: str) -> None:
    for build in (builder().mqtt5, builder().mqtt5_options):
        with pytest.raises(ConfigurationError, match=f"{name!r}: did you mean {meant!r}"):
            build(**{name: 1})


@pytest.mark.parametrize("name", sorted(_OWNED))
def test_an_option_that_follows_from_the_settings_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} follows from the settings; use instead: ") as caught:
        builder().mqtt5(**{name: SECRET})
    assert SECRET not in all_shown_by(caught.value)


def test_owned_options_are_awscrts_and_name_settings_that_exist() -> None:
    assert set(_OWNED) <= {field.name for field in dataclasses.fields(mqtt5.ClientOptions)}
    for setting in _OWNED.values():
        words = setting.replace(" and ", ", ").split(", ")
        assert setting.startswith("none") or set(words) <= set(ConnectionSettings.model_fields)


def test_what_awscrt_refuses_is_told_as_ours() -> None:
    with pytest.raises(ConfigurationError, match="awscrt refuses these options") as caught:
        builder().mqtt5(topic_aliasing_options=mqtt5.TopicAliasingOptions(outbound_behavior=99))
    assert caught.value.code == "options_refused_by_awscrt"
    assert SECRET not in all_shown_by(caught.value)


# -- MQTT 3.1.1 -------------------------------------------------------------------------------------------------------


def test_mqtt311_says_what_the_reference_flow_says() -> None:
    connection = builder(protocol="mqtt311", will=Will("gone", payload=b"x", qos=1, retain=True)).mqtt311()
    assert isinstance(connection, mqtt.Connection)
    assert (connection.host_name, connection.port, connection.client_id) == (HOST, 443, "client_id")
    assert (connection.username, connection.password) == (USERNAME, SECRET.encode())
    assert connection._metrics is None  # awscrt's own name; None is "off"
    assert connection.proxy_options is None
    will = connection.will
    assert (will.topic, will.qos, will.payload, will.retain) == ("gone", mqtt.QoS.AT_LEAST_ONCE, b"x", True)
    assert builder().mqtt311().will is None


@pytest.mark.parametrize(("expiry", "clean"), [(0, True), (1, False), (3_600, False)])
def test_mqtt311_asks_for_a_clean_session_or_for_its_old_one(expiry: int, clean: bool) -> None:
    assert builder(session_expiry_seconds=expiry).mqtt311().clean_session is clean
    assert builder(session_expiry_seconds=expiry).explain().clean_start is clean


@pytest.mark.parametrize(
    ("asked", "sent"), [(0, 1_200), (1, 30), (6, 30), (30, 30), (31, 31), (60, 60), (2_000, 2_000)]
)
def test_mqtt311_needs_a_keep_alive_above_its_wait_for_connack(asked: int, sent: int) -> None:
    built = builder(protocol="mqtt311", keep_alive_seconds=asked)
    connection = built.mqtt311()
    assert connection.keep_alive_secs == sent
    assert built.explain().keep_alive_sent_seconds == sent
    assert bool(built.explain().notes) is (asked != sent)
    assert 5_000 < connection.ping_timeout_ms < sent * 1_000  # the authorizer may take 5 s


@pytest.mark.parametrize(("timeout", "wait_ms"), [(15, 15_000), (6, 6_000), (600, 29_000)])
def test_mqtt311_waits_for_connack_as_long_as_one_attempt_lasts(timeout: float, wait_ms: int) -> None:
    assert builder(keep_alive_seconds=6, connect_timeout_seconds=timeout).mqtt311().ping_timeout_ms == wait_ms


def test_mqtt311_takes_awscrts_five_callbacks_and_no_others() -> None:
    def callback(**_values: object) -> None: ...

    connection = builder().mqtt311(
        on_connection_interrupted=callback,
        on_connection_resumed=callback,
        on_connection_success=callback,
        on_connection_failure=callback,
        on_connection_closed=callback,
    )
    for name in ("interrupted", "resumed", "success", "failure", "closed"):
        assert getattr(connection, f"_on_connection_{name}_cb") is callback
    with pytest.raises(TypeError):
        builder().mqtt311(on_connection_lost=callback)  # type: ignore[call-arg]


# -- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_host_and_port_are_those_of_the_settings(protocol: str) -> None:
    built = builder(protocol=protocol, endpoint="localhost", port=8443)
    assert (built.mqtt5_options().host_name, built.mqtt5_options().port) == ("localhost", 8443)
    assert (built.mqtt311().host_name, built.mqtt311().port) == ("localhost", 8443)
    plan = built.explain()
    assert (plan.host, plan.port, plan.server_name) == ("localhost", 8443, "localhost")


def test_metrics_are_on_only_when_asked_for() -> None:
    assert options_of(send_sdk_metrics=True).disable_metrics is False
    assert builder(send_sdk_metrics=True).mqtt311()._metrics is not None
    assert builder().explain().sdk_metrics is False


@pytest.mark.parametrize(
    ("credentials", "username", "password"),
    [
        (Credentials(), None, None),
        (Credentials.from_password("u", b"\xff\x00"), "u", b"\xff\x00"),
        (Credentials.from_bearer_token("t", token_key_name="k"), "?k=t", None),
    ],
)
def test_both_protocols_carry_exactly_the_same(
    credentials: Credentials, username: str | None, password: bytes | None
) -> None:
    built = builder(credentials)
    packet = built.mqtt5_options().connect_options
    connection = built.mqtt311()
    assert packet is not None
    assert (packet.username, packet.password) == (username, password)
    assert (connection.username, connection.password) == (username, password)
    assert (built.carried.username, built.carried.password) == (username, password)


@pytest.mark.parametrize("credentials", [Credentials.from_password("", "p"), Credentials.from_password("u", "")])
def test_a_password_that_awscrt_would_drop_in_silence_is_refused_for_311(credentials: Credentials) -> None:
    with pytest.raises(ConfigurationError, match="drops a password") as caught:
        builder(credentials, protocol="mqtt311")
    assert caught.value.code == "password_would_be_dropped"
    assert isinstance(builder(credentials).mqtt5(), mqtt5.Client)


def test_the_longest_user_name_makes_both_native_objects() -> None:
    query = "?x-amz-customauthorizer-name=A"
    longest = Credentials(username="u" * (65_000 - len(query)), authorizer="A")
    built = builder(longest)
    assert len(built.carried.username or "") == 65_000
    assert isinstance(built.mqtt5(), mqtt5.Client)
    assert built.mqtt311().username == built.carried.username
    with pytest.raises(ConfigurationError, match="65001 bytes"):
        builder(Credentials(username="u" * (65_001 - len(query)), authorizer="A"))


def test_tcp_keep_alive_is_off_unless_asked_for() -> None:
    assert options_of().socket_options is not None
    assert options_of().socket_options.keep_alive is False
    for options in (
        options_of(tcp_keep_alive_seconds=60).socket_options,
        builder(tcp_keep_alive_seconds=60).mqtt311().socket_options,
    ):
        assert options is not None
        assert options.keep_alive is True
        assert (options.keep_alive_timeout_secs, options.keep_alive_interval_secs) == (60, 20)
        assert options.keep_alive_max_probes == 3
    assert isinstance(builder(tcp_keep_alive_seconds=1).mqtt5(), mqtt5.Client)


def test_a_proxy_is_asked_with_connect() -> None:
    built = builder(http_proxy=f"http://us%40er:{SECRET}@proxy:3128")
    for proxy in (built.mqtt5_options().http_proxy_options, built.mqtt311().proxy_options):
        assert proxy is not None
        assert (proxy.host_name, proxy.port) == ("proxy", 3128)
        assert (proxy.auth_username, proxy.auth_password) == ("us@er", SECRET)
        assert proxy.auth_type == http.HttpProxyAuthenticationType.Basic
        assert proxy.connection_type == http.HttpProxyConnectionType.Tunneling
    assert "through HttpProxy(proxy:3128, with credentials)" in str(built.explain())


def test_a_proxy_without_a_user_is_asked_without_authentication() -> None:
    proxy = builder(http_proxy="http://proxy:3128").mqtt5_options().http_proxy_options
    assert proxy is not None
    assert proxy.auth_type == http.HttpProxyAuthenticationType.Nothing


def test_a_bad_proxy_of_the_environment_is_refused_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:{SECRET}/@h:1")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        builder(http_proxy="env").mqtt5_options()
    assert SECRET not in all_shown_by(caught.value)


# -- what a process has once ------------------------------------------------------------------------------------------


def test_tls_context_and_bootstrap_are_shared_by_all_that_trust_alike(ca_file: Path, authority: bytes) -> None:
    one, other = builder(ca_file=ca_file), builder(ca_file=ca_file, client_id="other", protocol="mqtt311")
    first, second, old = one.mqtt5_options(), other.mqtt5_options(), other.mqtt311()
    assert first.tls_ctx is second.tls_ctx
    assert first.tls_ctx is old.client.tls_ctx
    assert first.bootstrap is second.bootstrap
    assert first.bootstrap is runtime().bootstrap()
    assert options_of().tls_ctx is options_of(client_id="other").tls_ctx


def test_another_way_of_trusting_or_another_alpn_name_has_its_own_tls_context(ca_file: Path) -> None:
    contexts = [
        options_of().tls_ctx,
        options_of(ca_file=ca_file).tls_ctx,
        options_of(ca_file=ca_file, alpn=None).tls_ctx,
        options_of(ca_file=ca_file, alpn="http/1.1").tls_ctx,
    ]
    assert len({id(context) for context in contexts}) == 4


def test_a_ca_file_that_was_replaced_is_trusted_from_the_next_connection_on(ca_file: Path) -> None:
    before = options_of(ca_file=ca_file).tls_ctx
    ca_file.write_bytes(trustme.CA().cert_pem.bytes())
    assert options_of(ca_file=ca_file).tls_ctx is not before


@pytest.mark.parametrize(("alpn", "offered"), [("auto", ["mqtt"]), (None, []), ("x-amzn-mqtt-ca", ["x-amzn-mqtt-ca"])])
def test_alpn_is_mqtt_unless_told_otherwise(alpn: str | None, offered: list[str], alpn_lists: list[list[str]]) -> None:
    settings = ConnectionSettings(endpoint=HOST, alpn=alpn)
    Runtime().tls_context(None, settings.alpn_name)
    assert alpn_lists == [offered]
    assert builder(alpn=alpn).explain().alpn == (offered[0] if offered else None)


def test_a_missing_ca_file_is_refused_by_name(tmp_path: Path) -> None:
    for build in (builder(ca_file=tmp_path / "ca.pem").mqtt5, builder(ca_file=tmp_path / "ca.pem").mqtt311):
        with pytest.raises(ConfigurationError, match=r"ca_file .*ca\.pem cannot be read: No such file") as caught:
            build()
        assert caught.value.code == "ca_file_unreadable"


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_ca_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"ca\.pem holds no usable PEM certificate") as caught:
        builder(ca_file=tmp_path / "ca.pem").mqtt5()
    assert caught.value.code == "ca_file_invalid"


# -- what is refused before anything is made --------------------------------------------------------------------------


def test_a_client_id_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="client_id is needed") as caught:
        ConnectionBuilder(ConnectionSettings(endpoint=HOST), CREDENTIALS)
    assert caught.value.code == "client_id_missing"


def test_what_is_no_settings_or_credentials_is_refused_and_not_quoted() -> None:
    settings = ConnectionSettings(endpoint=HOST, client_id="c")
    with pytest.raises(ConfigurationError, match="must be a Credentials, not str: see") as caught:
        ConnectionBuilder(settings, SECRET)  # type: ignore[arg-type]
    assert SECRET not in all_shown_by(caught.value)
    with pytest.raises(ConfigurationError, match="must be a ConnectionSettings, not str"):
        ConnectionBuilder(HOST, CREDENTIALS)  # type: ignore[arg-type]


# -- what will be sent, for people ------------------------------------------------------------------------------------


def test_explain_tells_everything_and_no_secret() -> None:
    credentials = Credentials.from_signed_token(
        SECRET, SECRET, token_key_name="token", authorizer="A", username=SECRET, password=SECRET
    )
    text = str(builder(credentials, will=Will("gone", payload=SECRET)).explain())
    hidden = "x-amz-customauthorizer-signature=<8 characters>&token=<8 characters>"
    assert SECRET not in text
    assert [line for line in text.splitlines() if not line.startswith("try it")] == [
        "protocol    MQTT 5 over TLS",
        f"connect to  {HOST}:443",
        f"SNI         {HOST}",
        "ALPN        mqtt",
        "trust       the system's authorities",
        "client id   client_id",
        f"user name   <8 characters>?x-amz-customauthorizer-name=A&{hidden}",
        "password    <8 bytes>",
        "session     kept for 3600 s",
        "keep alive  60 s, applied: 60 s",
        "will        gone",
        "SDK metrics off",
    ]


def test_explain_makes_nothing_native(ca_file: Path, alpn_lists: list[list[str]]) -> None:
    builder(ca_file=ca_file, alpn="of-this-test").explain()
    assert alpn_lists == []


@pytest.mark.parametrize("shown", [repr, str])
def test_the_builder_itself_shows_no_secret(shown: Any) -> None:
    assert SECRET not in shown(builder())
    assert SECRET not in shown(builder().explain())
    assert SECRET not in shown(builder().carried)
