"""The numbers of AWS IoT Core that a client or an endpoint has to know, each with its source.

Sources, by the name of the page: *quotas* is "AWS IoT Core endpoints and quotas" in the AWS General Reference;
*MQTT* and *custom auth* are the pages of these names in the AWS IoT developer guide; *Lambda* is its page "Defining
your Lambda function"; *API* is the public model of the `iot` service. The service may change a number, and some can
be raised by a support request: nothing here is a promise of AWS.
"""

from __future__ import annotations

from typing import Final

# -- the wire -----------------------------------------------------------------------------------------------------
SERVICE_PORT: Final = 443
"""The default endpoint serves custom authentication on this port only (*custom auth*)."""
ALPN_MQTT: Final = "mqtt"
"""The ALPN name that selects MQTT with custom authentication (*custom auth*)."""
MAX_USERNAME_BYTES: Final = 65_000
"""Longest MQTT user name we send. MQTT allows 65,535; awscrt misbehaves close to that, so we stay below."""
MAX_PASSWORD_BYTES: Final = 65_535
"""Longest MQTT password, a field of MQTT with a two byte length."""

# -- HTTP: the upgrade to WebSocket, and publishing ---------------------------------------------------------------
WEBSOCKET_PATH: Final = "/mqtt"
"""Where MQTT over WebSocket is served (*protocols*, the page "Device communication protocols")."""
PUBLISH_PATH: Final = "/topics/"
"""Where HTTPS publishing is served, followed by the topic, percent-encoded (the page "HTTPS")."""
MAX_QUERY_CHARACTERS: Final = 4_096
"""*API*: query of TestInvokeAuthorizer. What a connection may have is not documented: a longer one is sent, with a
note in `explain()`."""
MAX_HEADER_CHARACTERS: Final = 8_192
"""*API*: name or value of a header of TestInvokeAuthorizer. Treated as `MAX_QUERY_CHARACTERS` is."""

# -- names --------------------------------------------------------------------------------------------------------
MAX_CLIENT_ID_BYTES: Final = 128
"""*quotas*: client id, in bytes of UTF-8."""
MAX_TOPIC_BYTES: Final = 256
"""*quotas*: topic, in bytes of UTF-8, without a leading `$aws/rules/<rule>/` or `$share/<name>/`."""
MAX_TOPIC_SLASHES: Final = 7
"""*quotas*: slashes in a topic or topic filter, without those of the same prefixes."""
MAX_SHARE_NAME_CHARACTERS: Final = 128
"""*MQTT*: the name in `$share/<name>/<filter>`."""
MAX_RULE_NAME_CHARACTERS: Final = 128
"""*API*, CreateTopicRule: the name in `$aws/rules/<rule>/`, which does not count for the length of a topic."""
AUTHORIZER_NAME_PATTERN: Final = r"[\w=,@-]{1,128}"
"""*API*: authorizer names (ASCII)."""
TOKEN_KEY_NAME_PATTERN: Final = r"[a-zA-Z0-9_-]{1,128}"
"""*API*: the authorizer's token key name."""
MAX_TOKEN_CHARACTERS: Final = 6_144
"""*API*: token of TestInvokeAuthorizer."""
MAX_SIGNATURE_CHARACTERS: Final = 2_560
"""*API*: token signature of TestInvokeAuthorizer."""
MIN_KEY_BITS: Final = 2_048
"""*custom auth*: an RSA key that signs tokens has at least so many bits."""
RESERVED_PARAMETERS: Final = ("x-amz-customauthorizer-name", "x-amz-customauthorizer-signature")
"""*custom auth*: query names that the service reads itself."""

DOMAIN_CONFIGURATION_NAME_PATTERN: Final = r"[\w.-]{1,128}"
"""*API*: names of domain configurations (ASCII); those that begin with `IoT:` are the service's own."""
MAX_AUTHORIZERS: Final = 10
"""*quotas*: authorizers of an account."""

# -- messages -----------------------------------------------------------------------------------------------------
MAX_PAYLOAD_BYTES: Final = 131_072
"""*quotas*: payload of one publish, 128 KiB."""
MAX_PACKET_BYTES: Final = 149_504
"""Largest MQTT packet the local endpoint accepts and announces: 146 KiB, the service quota "Maximum MQTT5 packet size".
The page *MQTT* says "cannot exceed 128 KB" of the same property, which leaves no room for the largest payload."""
MAX_QOS: Final = 1
"""*MQTT*: QoS 2 is not supported."""
MAX_IN_FLIGHT: Final = 100
"""*quotas*: unacknowledged QoS 1 messages in each direction of one connection."""
MAX_FILTERS_PER_SUBSCRIBE: Final = 8
"""*quotas*: topic filters in one SUBSCRIBE."""
MAX_SUBSCRIPTIONS_PER_CONNECTION: Final = 50
"""*quotas*: subscriptions of one connection."""
MAX_SUBSCRIPTIONS_PER_ACCOUNT: Final = 500_000
"""*quotas*: subscriptions of all clients together; can be raised."""
SUBSCRIPTIONS_PER_SECOND: Final = 500
"""*quotas*: topic filters in the SUBSCRIBE packets of all clients together; can be raised."""
PUBLISHES_PER_SECOND: Final = 20_000
"""*quotas*: PUBLISH packets from all clients together, and as many to them; less in small regions, can be raised."""
QUEUED_MESSAGES_PER_SECOND: Final = 500
"""*quotas*: messages that begin to be stored for clients that are away, of all sessions together; can be raised."""
MAX_RETRY_SECONDS: Final = 3_600
"""*quotas*: a message of QoS 1 without PUBACK is given up after this."""
MAX_PUBLISHES_PER_SECOND_PER_CONNECTION: Final = 100
"""*quotas*: PUBLISH packets from, and as many to, one connection; the service discards what is over it."""
MAX_BYTES_PER_SECOND_PER_CONNECTION: Final = 524_288
"""*quotas*: bytes over one connection, 512 KiB; the service delays what is over it."""
STORED_MESSAGES_PER_SECOND: Final = 10
"""*MQTT*: stored messages to a session that was resumed."""
SHARED_STORED_MESSAGES_PER_SECOND: Final = 20
"""*MQTT*: stored messages of a shared subscription, to each of its members."""
MAX_TOPIC_ALIAS: Final = 8
"""*MQTT*: topic aliases, each direction."""
MIN_MESSAGE_EXPIRY_SECONDS: Final = 1
"""*MQTT*: a shorter message expiry is raised to this."""
MAX_MESSAGE_EXPIRY_SECONDS: Final = 604_800
"""*MQTT*: a longer message expiry is lowered to this (7 days)."""

# -- time ---------------------------------------------------------------------------------------------------------
MIN_KEEP_ALIVE_SECONDS: Final = 30
"""*quotas*: a shorter keep alive is treated as this."""
MAX_KEEP_ALIVE_SECONDS: Final = 1_200
"""*quotas*: a longer one, and 0, are treated as this."""
KEEP_ALIVE_GRACE: Final = 1.5
"""*quotas*: the service ends a connection that was silent for so many times its keep alive."""
MAX_SESSION_EXPIRY_SECONDS: Final = 604_800
"""*MQTT*: 1 h unless raised by request, to 7 days at most."""
DEFAULT_SESSION_EXPIRY_SECONDS: Final = 3_600
"""*MQTT*: what the service keeps a persistent session for unless the account was given more."""
CONNECTS_PER_SECOND_PER_CLIENT_ID: Final = 1
"""*quotas*: CONNECTs with one client id."""
CONNECTS_PER_SECOND: Final = 500
"""*quotas*: CONNECTs of all clients together; can be raised."""

# -- the authorizer -----------------------------------------------------------------------------------------------
AUTHORIZER_TIMEOUT_SECONDS: Final = 5.0
"""*custom auth*: the authorizer function must answer within this."""
MIN_AUTHORIZER_SECONDS: Final = 300
"""*Lambda*: least `disconnectAfterInSeconds` and `refreshAfterInSeconds`."""
MAX_AUTHORIZER_SECONDS: Final = 86_400
"""*Lambda*: greatest of the same two."""
MAX_POLICY_DOCUMENTS: Final = 10
"""*Lambda*: policy documents in one result."""
MAX_POLICY_CHARACTERS: Final = 2_048
"""*Lambda*: characters of one policy document, white space not counted (*quotas*)."""
PRINCIPAL_ID_PATTERN: Final = r"[a-zA-Z0-9]{1,128}"
"""*Lambda*: `principalId`."""


def clamp_keep_alive(seconds: int) -> int:
    """Return the keep alive, in seconds, that the service applies to the one asked for (*quotas*)."""
    if seconds == 0 or seconds > MAX_KEEP_ALIVE_SECONDS:
        return MAX_KEEP_ALIVE_SECONDS
    return max(seconds, MIN_KEEP_ALIVE_SECONDS)
