"""What AWS does not document about custom authentication, as settings: one for each question that a user may need
answered the other way.

The default of each is what the local endpoint takes for most likely. Whoever wants to know that a client or an
authorizer copes with the other answer sets it and runs the same test again. A question whose answer no client and no
authorizer can notice, or notice only in ways that make no difference to them, is no setting.

Pure values: nothing here acts. A misspelt name or value is refused when the object is made, never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from .._suggest import unknown
from ..errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How the local endpoint behaves where AWS IoT Core's behaviour is not known.

    Args:
        refused_connect_mqtt5: what an MQTT 5 client gets whose CONNECT fails before the policy is asked: wrong or no
            credentials, wrong signature, a function that denies or fails. AWS lists 134 and 135 among the codes of its
            CONNACK (page "MQTT") without saying when; its SDKs' tests take a connection that just ends too.
            `135`, `134`, or `"hang_up"`: no CONNACK. A denial by the policy is 135 in any case.
        refused_upgrade_status: the HTTP status of a WebSocket upgrade whose credentials are refused: `403` or `401`.
            AWS documents 403 for HTTPS publishes only. One with AWS credentials (SigV4) gets 403 in any case, as seen.
        unknown_authorizer_status_https: the HTTP status of a publish that names an unknown authorizer, or none where
            there is no default one: `403` or `401`. Of 403 AWS documents wrong signatures and denials only.
        unknown_server_name: how a TLS handshake ends whose server name (SNI) is absent or not served. AWS documents
            that it fails (page "Transport security"), not how. `"alert"`: the fatal TLS alert `unrecognized_name`;
            `"reset"`: the TCP connection is reset; `"close"`: it is closed without a word.
        name_in_host: a ClientHello without SNI that leads to HTTP. AWS documents both that connections without SNI are
            refused (pages "Device communication protocols" of 2023 and "Transport security") and that the endpoint's
            name may come in the Host header of HTTPS and WebSocket instead (page "Troubleshooting your authorizers").
            `"refused"`: SNI is needed; `"taken"`: each request's Host finds the domain, and the function is told no
            server name.
        packets_before_connack: what happens to a client that goes on before its CONNACK has come. The page "MQTT" says
            that it must wait, not what comes of it. `"wait"`: its packets are taken after CONNACK, in their order;
            `"hang_up"`: the connection ends.
        two_question_marks: an MQTT user name with more than one `?`. Seen at the service: it never reached the
            authorizer; AWS's SDK says that the last one counts. `"refused"`, or `"last_counts"`.
        credentials_in_two_places: an upgrade or a request with credentials in its headers and its query, or in the
            user name of CONNECT too. `"first_counts"`, in this order, with a warning; or `"refused"`.
        plus_in_query: a `+` in a query, or in the query of a user name, that was not percent-encoded. AWS asks for
            encoding "to avoid errors", and `+` in an unencoded signature is such an error if the service reads it as
            HTML forms do. `"kept"`: it stays `+`; `"space"`: it is a space, and the signature does not verify.
        signature_in_header: a percent-encoded signature in an HTTP header. AWS's page ("Connecting to AWS IoT Core by
            using custom authentication") wants signatures encoded that JavaScript sends from a browser; whether in
            headers too, or in the query alone, it does not say. `"raw"`: headers are not decoded, so it does not
            verify; `"decoded"`: once. A raw signature, which is known to work, verifies in either case.
        username_in_event: the MQTT user name that the function is given. `"raw"`: as it was sent; `"decoded"`:
            percent-decoded as a whole.
        token_in_event: the token that the function is given, if it came in a query or in the user name. `"decoded"`:
            percent-decoded once; `"raw"`: as it was sent. The signature is verified over the decoded one in any case.
        mqtt_in_upgrade_event: whether the function is told of CONNECT when the credentials of a WebSocket came with
            its upgrade: `"present"`, or `"absent"`. Then there are no user name, password and client id to decide by.
        policy_as_text: policy documents that a function returns as JSON text. AWS shows objects only, its API has
            texts. `"accepted"`, or `"refused"`: the result is invalid.
        seconds_out_of_range: `disconnectAfterInSeconds` or `refreshAfterInSeconds` outside of 300 to 86,400.
            `"refused"`: the result is invalid; `"clamped"`: the nearest number within is taken.
        connect_after_refresh: whether `iot:Connect` is asked of the policies that a refresh brings: `"asked"`, and a
            denial ends the connection; or `"not_asked"`.
        reauthorise_after_seconds: when, after CONNACK, `iot:Connect` is asked once more of the same policies, without
            the will in the request: 30 to 300, or `"never"`. Seen at the service, within 30 s and 5 min: a policy that
            allows `iot:Connect` only with a condition on `iot:LastWillTopic` lets a client in, and ends it then.
        first_refresh_delay_seconds: how much later the first refresh of a connection comes that has been idle (nothing
            but pings since its CONNECT): 0 to 300. AWS says up to 5 minutes (page "Understanding the custom
            authentication workflow"); later refreshes follow their interval.
        failed_refresh_mqtt5: the DISCONNECT code that an MQTT 5 client gets when a refresh does not allow it any more:
            `135`, `152`, or `"hang_up"`: none.
        end_of_life_mqtt5: the DISCONNECT code at the end of `disconnectAfterInSeconds`, and of the 24 hours of a
            WebSocket: `152`, `135`, or `"hang_up"`: none. (That the will is published then is documented, on the page
            "Lifecycle events".)
        will_delay: whether the Will Delay Interval of MQTT 5 counts, which AWS does not speak of: `"honoured"`, or
            `"ignored"`: the will is published as soon as the connection has ended.
        denied_publish_qos0_mqtt5: what an MQTT 5 client gets for a PUBLISH of QoS 0 that its policy denies, which has
            no PUBACK to carry a code. `"disconnect"`: DISCONNECT 135; `"ignored"`: nothing, the message is lost.
        denied_delivery: what a client gets for a message that its policy does not let it receive (`iot:Receive`).
            `"left_out"`: nothing; `"disconnect"`: the connection ends, with DISCONNECT 135 for MQTT 5.
        overlapping_filters: how often a message comes to a client that has subscribed to several filters that fit.
            MQTT allows both. `"copy_for_each"`: once for each, with its QoS; `"one_copy"`: once, with the highest.
            Shared subscriptions count each for itself.
        connect_over_https: whether an HTTPS publish, which has no client id, is asked `iot:Connect` too:
            `"not_asked"`, or `"asked"`, on the resource `client/`.
        thing_name: `${iot:Connection.Thing.ThingName}` and the condition `iot:Connection.Thing.IsAttached` in
            policies. No thing can be attached to a client of custom authentication. `"no_value"`: an Allow that needs
            one does not apply, a Deny does; `"client_id"`: as if a thing of that name were attached.
        announced_packet_bytes: the Maximum Packet Size in an MQTT 5 CONNACK: `149504`, `131072` (the 128 KB that the
            page "MQTT" speaks of), or `"left_out"`. Larger packets than announced are still read.
        reserved_topics: what clients may publish and subscribe to of `$aws/...`. `"documented"`: the topics of the page
            "Reserved topics", each as it says there; others "can result in a terminated connection". `"any"`: what
            their policy allows, for topics newer than our table, and for a test client that stands for a service.
        packet_id_sent_again: a message of QoS 1 that is sent again in a resumed session, never with the DUP flag. The
            page "MQTT" says that it may have another packet identifier. `"same"`, or `"new"`.
        session_overtime_seconds: how much longer than its expiry a session is kept: 0 to 1800. The page "MQTT" says
            that it may be up to 30 minutes; CONNACK tells the expiry alone.
        disallowed_override: what happens to an authorizer's name that a client sends to a domain configuration whose
            `allow_authorizer_override` is false, if it is not the default authorizer's. AWS documents no answer; users
            report both. `"ignore"`: the default authorizer is asked, and the log warns; `"refuse"`.

    Raises:
        ConfigurationError: (also a ValueError) a value that is not among these.
    """

    refused_connect_mqtt5: Literal[135, 134, "hang_up"] = 135
    refused_upgrade_status: Literal[403, 401] = 403
    unknown_authorizer_status_https: Literal[403, 401] = 403
    unknown_server_name: Literal["alert", "reset", "close"] = "alert"
    name_in_host: Literal["refused", "taken"] = "refused"
    packets_before_connack: Literal["wait", "hang_up"] = "wait"
    two_question_marks: Literal["refused", "last_counts"] = "refused"
    credentials_in_two_places: Literal["first_counts", "refused"] = "first_counts"
    plus_in_query: Literal["kept", "space"] = "kept"
    signature_in_header: Literal["raw", "decoded"] = "raw"
    username_in_event: Literal["raw", "decoded"] = "raw"
    token_in_event: Literal["decoded", "raw"] = "decoded"
    mqtt_in_upgrade_event: Literal["present", "absent"] = "present"
    policy_as_text: Literal["accepted", "refused"] = "accepted"
    seconds_out_of_range: Literal["refused", "clamped"] = "refused"
    connect_after_refresh: Literal["asked", "not_asked"] = "asked"
    reauthorise_after_seconds: int | Literal["never"] = 60
    first_refresh_delay_seconds: int = 0
    failed_refresh_mqtt5: Literal[135, 152, "hang_up"] = 135
    end_of_life_mqtt5: Literal[152, 135, "hang_up"] = 152
    will_delay: Literal["honoured", "ignored"] = "honoured"
    denied_publish_qos0_mqtt5: Literal["disconnect", "ignored"] = "disconnect"
    denied_delivery: Literal["left_out", "disconnect"] = "left_out"
    overlapping_filters: Literal["copy_for_each", "one_copy"] = "copy_for_each"
    connect_over_https: Literal["not_asked", "asked"] = "not_asked"
    thing_name: Literal["no_value", "client_id"] = "no_value"
    announced_packet_bytes: Literal[149504, 131072, "left_out"] = 149504
    reserved_topics: Literal["documented", "any"] = "documented"
    packet_id_sent_again: Literal["same", "new"] = "same"
    session_overtime_seconds: int = 0
    disallowed_override: Literal["ignore", "refuse"] = "ignore"

    def __post_init__(self) -> None:
        for name, kind in _kinds().items():
            _check(name, getattr(self, name), kind)


def read_choices(table: Mapping[str, Any]) -> Choices:
    """Make `Choices` of a table of names and values.

    Raises `ConfigurationError` for a name that is none, with the nearest one, and for a value that cannot be.
    """
    for name in table:
        if name not in CHOICE_NAMES:
            raise ConfigurationError(unknown("key", name, CHOICE_NAMES))
    return Choices(**table)


def values_of(name: str) -> tuple[Any, ...]:
    """Return the values that a setting may have; of a number of seconds the least, the most and any word."""
    return (*_RANGES.get(name, ()), *_alternatives(_kinds()[name]))


_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "reauthorise_after_seconds": (30, 300),
    "first_refresh_delay_seconds": (0, 300),
    "session_overtime_seconds": (0, 1_800),
}
"""Least and most of the settings that are a number of seconds."""


@cache
def _kinds() -> Mapping[str, Any]:
    return get_type_hints(Choices)


def _check(name: str, value: object, kind: Any) -> None:
    alternatives = _alternatives(kind)
    if any(type(value) is type(each) and value == each for each in alternatives):
        return
    limits = _RANGES.get(name)
    if limits is None:
        if isinstance(value, str):
            if any(value == str(each) for each in alternatives):
                raise ConfigurationError(f"{name} is {value!r}, a text: write {value}, without quotes")
            raise ConfigurationError(unknown(name, value, map(str, alternatives)))
        raise ConfigurationError(f"{name} is {value!r}: {_listed(alternatives)}")
    least, most = limits
    if type(value) is not int or not least <= value <= most:
        other = "".join(f", or {each!r}" for each in alternatives)
        raise ConfigurationError(f"{name} is {value!r}: it must be a whole number from {least} to {most}{other}")


def _alternatives(kind: Any) -> tuple[object, ...]:
    """Return the members of the Literal that a type is or holds."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(member for part in get_args(kind) for member in _alternatives(part))


def _listed(alternatives: tuple[object, ...]) -> str:
    return f"it must be {' or '.join(map(repr, alternatives))}"


CHOICE_NAMES: Final = tuple(each.name for each in fields(Choices))

DEFAULT_CHOICES: Final = Choices()
