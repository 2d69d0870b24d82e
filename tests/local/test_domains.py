"""Domain configurations as values: what may be written, which one answers for a name, and what it speaks."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local import DomainConfiguration
from iot_customauth_client.local.domain_configuration import ApplicationProtocol, AuthenticationType
from iot_customauth_client.local.domains import Domains
from iot_customauth_client.local.doors import Door, ServedNames, TurnAway, choose_door

AWS = "a1b2-ats.iot.eu-west-1.amazonaws.com"
NAME = "devices.example.com"
ALPNS = st.lists(
    st.sampled_from(["mqtt", "http/1.1", "h2", "x-amzn-mqtt-ca", "x-amzn-http-ca", "mqtt/5"]), unique=True, max_size=4
)


def domains(account_default: str | None = None, /, **fields: Any) -> Domains:
    """The default endpoint and one configuration, `devices`."""
    configuration = DomainConfiguration(**({"domain_name": NAME} | fields))
    return Domains(["localhost", AWS], {"devices": configuration}, account_default)


def door_of(served: Domains, server_name: str, *alpn: str) -> tuple[str, Door]:
    chosen = served.choose(server_name, alpn)
    assert not isinstance(chosen, TurnAway), chosen
    return chosen[0].name, chosen[1]


def turned_away(served: Domains, server_name: str | None, *alpn: str) -> TurnAway:
    chosen = served.choose(server_name, alpn)
    assert isinstance(chosen, TurnAway)
    return chosen


# -- what may be written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"authentication_type": "CUSTOM_AUTH_X509"}, r"client certificate.*SECURE_MQTT or HTTPS.*CUSTOM_AUTH.*awsiot"),
        ({"authentication_type": "AWS_X509"}, "client certificates.*custom authentication only.*awsiotsdk"),
        ({"authentication_type": "AWS_SIGV4"}, "signed with AWS credentials.*awsiotsdk"),
        ({"authentication_type": "CUSTOM"}, "known: DEFAULT, CUSTOM_AUTH"),
        ({"application_protocol": "MQTT"}, "application_protocol"),
        ({"application_protocol": "secure_mqtt"}, "SECURE_MQTT"),
        ({"status": "enabled"}, "ENABLED"),
        ({"default_authorizer": "a"}, "allow_authorizer_override"),
        ({"default_authorizer": "a b", "allow_authorizer_override": True}, "authorizer name"),
        ({"allow_authorizer_override": False}, "name the default one too"),
        ({"allow_authorizer_override": "no"}, "write true or false"),
        ({"domain_name": "https://a.example"}, "not a host name"),
        ({"domain_name": "a.example."}, "ends with a dot"),
        ({"domain_name": "*.a.example"}, "one host name"),
        ({"domain_name": "10.0.0.1"}, "IP address"),
        ({"domain_name": "::1"}, "IP address"),
        ({"domain_name": ""}, "not a host name"),
        ({"domain_name": f"{'a.' * 126}ab"}, "not a host name"),
        ({"domain_name": 127}, "write a host name"),
    ],
)
def test_what_the_service_or_this_endpoint_cannot_do_is_refused_with_advice(
    fields: dict[str, Any], advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        domains(**fields)


def test_a_domain_name_of_253_characters_is_the_longest() -> None:
    assert DomainConfiguration(domain_name=f"{'a.' * 126}a").domain_name == f"{'a.' * 126}a"


def test_a_configuration_cannot_be_changed() -> None:
    configuration = DomainConfiguration(domain_name=NAME)
    with pytest.raises(AttributeError):
        configuration.status = "DISABLED"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["IoT:Data-ATS", "iot:jobs", "", "a b", "a/b", "é", "x" * 129])
def test_a_name_that_the_service_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="domain configuration name"):
        Domains(["localhost"], {name: DomainConfiguration(domain_name=NAME)})


@pytest.mark.parametrize("name", ["a", "A.b-c_1", "x" * 128, "iot"])
def test_a_name_that_the_service_takes_is_taken(name: str) -> None:
    assert Domains(["localhost"], {name: DomainConfiguration(domain_name=NAME)}).named(name).domain_name == NAME


def test_two_configurations_cannot_answer_for_one_name() -> None:
    two = {"one": DomainConfiguration(domain_name=NAME), "two": DomainConfiguration(domain_name=NAME.upper())}
    with pytest.raises(ConfigurationError, match=r"'two'.*'one' already"):
        Domains(["localhost"], two)


def test_a_configuration_cannot_answer_for_one_of_the_hostnames() -> None:
    with pytest.raises(ConfigurationError, match="the endpoint's hostnames already"):
        domains(domain_name=AWS.upper())


def test_a_default_authorizer_that_is_not_there_is_refused() -> None:
    served = domains("there")
    served.check_authorizers(["there"])
    wrong = Domains(
        ["localhost"],
        {"d": DomainConfiguration(domain_name=NAME, default_authorizer="thre", allow_authorizer_override=True)},
    )
    with pytest.raises(ConfigurationError, match=r"'d'.*did you mean 'there'"):
        wrong.check_authorizers(["there"])


def test_a_mapping_is_no_configuration() -> None:
    with pytest.raises(ConfigurationError, match="pass a DomainConfiguration"):
        Domains(["localhost"], {"d": {"domain_name": NAME}})  # type: ignore[dict-item]


# -- which one answers ------------------------------------------------------------------------------------------------


def test_the_server_name_selects_the_domain_whatever_its_case() -> None:
    served = domains()
    assert door_of(served, NAME.upper(), "mqtt") == ("devices", Door.MQTT)
    assert door_of(served, AWS, "mqtt") == ("iot:Data-ATS", Door.MQTT)
    assert turned_away(served, "other.example.com", "mqtt").cause == "sni_unknown"
    assert turned_away(served, None, "mqtt").cause == "sni_missing"
    assert f"`{NAME}`" in turned_away(served, "other.example.com").explanation


def test_an_exact_name_comes_before_a_wildcard_of_the_hostnames() -> None:
    served = Domains(["*.example.com"], {"devices": DomainConfiguration(domain_name=NAME)})
    assert door_of(served, NAME)[0] == "devices"
    assert door_of(served, "other.example.com")[0] == "iot:Data-ATS"


def test_the_domains_default_authorizer_comes_before_the_accounts() -> None:
    assert domains("account").named("devices").default_authorizer == "account"
    served = domains("account", default_authorizer="own", allow_authorizer_override=False)
    assert served.named("devices").default_authorizer == "own"
    assert served.default.default_authorizer == "account"
    assert (served.named("devices").may_name, served.default.may_name) == (False, True)


def test_a_disabled_domain_turns_everybody_away_and_says_so() -> None:
    served = domains(status="DISABLED")
    answer = turned_away(served, NAME, "mqtt")
    assert (answer.cause, answer.alert) == ("domain_disabled", 112)
    assert "ENABLED" in answer.explanation
    assert door_of(served, AWS, "mqtt") == ("iot:Data-ATS", Door.MQTT)


# -- what it speaks ---------------------------------------------------------------------------------------------------


@given(alpn=ALPNS)
def test_with_a_protocol_and_custom_auth_no_alpn_changes_the_door(alpn: list[str]) -> None:
    for protocol, door in (("SECURE_MQTT", Door.MQTT), ("MQTT_WSS", Door.HTTP), ("HTTPS", Door.HTTP)):
        served = domains(authentication_type="CUSTOM_AUTH", application_protocol=protocol)
        assert door_of(served, NAME, *alpn) == ("devices", door)


@given(alpn=ALPNS, kind=st.sampled_from(["DEFAULT", "CUSTOM_AUTH"]))
def test_without_a_protocol_a_domain_has_the_doors_of_the_default_endpoint(alpn: list[str], kind: str) -> None:
    served = domains(authentication_type=kind)
    own, default = served.choose(NAME, alpn), choose_door(AWS, alpn, ServedNames([AWS]))
    assert (own if isinstance(own, TurnAway) else own[1]) == default


@pytest.mark.parametrize("protocol", ["SECURE_MQTT", "MQTT_WSS", "HTTPS"])
@pytest.mark.parametrize("alpn", ["x-amzn-mqtt-ca", "x-amzn-http-ca"])
def test_with_the_default_type_an_alpn_of_certificates_still_means_certificates(protocol: str, alpn: str) -> None:
    served = domains(application_protocol=protocol)
    assert turned_away(served, NAME, alpn).cause == "alpn_for_client_certificates"
    assert not isinstance(served.choose(NAME, ["mqtt", alpn]), TurnAway)
    assert not isinstance(served.choose(NAME, []), TurnAway)
    assert not isinstance(served.choose(NAME, ["h2"]), TurnAway)


@pytest.mark.parametrize(
    ("protocol", "ports"),
    [("DEFAULT", (443,)), ("SECURE_MQTT", (443, 8883)), ("MQTT_WSS", (443,)), ("HTTPS", (443, 8443))],
)
def test_a_domain_is_reached_by_the_ports_of_its_protocol(protocol: str, ports: tuple[int, ...]) -> None:
    served = domains(application_protocol=protocol)
    assert served.ports(NAME) == ports
    assert served.ports(AWS) == (443,)


def test_every_value_of_the_api_is_served_or_refused() -> None:
    for kind in get_args(AuthenticationType):
        for protocol in get_args(ApplicationProtocol):
            if kind in ("DEFAULT", "CUSTOM_AUTH"):
                assert domains(authentication_type=kind, application_protocol=protocol)
            else:
                with pytest.raises(ConfigurationError, match=kind):
                    domains(authentication_type=kind, application_protocol=protocol)


@given(host=st.text(max_size=300))
def test_any_host_header_is_compared_without_a_fault(host: str) -> None:
    served = domains()
    said = served.other_host(served.default, host)
    assert said is None or NAME in said


@pytest.mark.parametrize("host", [NAME, NAME.upper(), f"{NAME}:443"])
def test_a_host_of_another_domain_is_noticed(host: str) -> None:
    served = domains()
    assert "SNI does" in (served.other_host(served.default, host) or "")
    assert served.other_host(served.named("devices"), host) is None
    assert served.other_host(served.default, "unknown.example") is None
    assert served.other_host(served.default, "localhost:8443") is None
