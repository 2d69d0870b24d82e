"""Clients of HTTP that are not ours: `curl`, which publishes, and `paho-mqtt` over WebSocket with headers.

What the endpoint answers to each request is tested in tests/local; here a device's signed token goes in by headers and
by query, to a Python function and to a Node.js Lambda behind an Invoke URL, and each wrong one is refused.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import paho.mqtt.client as paho
import pytest
from client_support import WAIT
from paho.mqtt.client import WebsocketConnectionError
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.signing import KeyPair, generate_key_pair, sign_token

pytest_plugins = ("client_support",)

CURL, NODE = shutil.which("curl"), shutil.which("node")
needs_curl = pytest.mark.skipif(CURL is None, reason="needs curl")
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node.js (node)")
PLACES = pytest.mark.parametrize("place", ["headers", "query"])
VERSIONS = pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
INVOKE_SERVER = Path(__file__).parents[1] / "local" / "node" / "invoke_server.js"
NAME, SIGNATURE = "x-amz-customauthorizer-name", "x-amz-customauthorizer-signature"
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}


@dataclass(frozen=True)
class Signer:
    """A device's keys, and a token whose signature holds `+`, `/` and `=`."""

    keys: KeyPair
    token: str

    def parameters(
        self, token: str | None = None, *, signature_of: str | None = None, authorizer: str = "python"
    ) -> dict[str, str]:
        """The three names and their values, not encoded."""
        token = self.token if token is None else token
        return {NAME: authorizer, "token": token, SIGNATURE: sign_token(signature_of or token, self.keys.private_pem)}


@pytest.fixture(scope="module")
def signer() -> Signer:
    keys = generate_key_pair()
    tokens = (f"tok+en/{number}=&?%41" for number in count())
    return Signer(keys, next(each for each in tokens if {"+", "/", "="} <= set(sign_token(each, keys.private_pem))))


@contextlib.contextmanager
def node_lambda(file: Path) -> Iterator[str]:
    """Serve a Node.js Lambda; gives its Invoke URL."""
    assert NODE is not None
    with subprocess.Popen([NODE, str(INVOKE_SERVER), str(file)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield f"http://127.0.0.1:{port}/2015-03-31/functions/authorizer/invocations"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def service(signer: Signer) -> Iterator[LocalEndpoint]:
    """An endpoint that wants signed tokens, and knows one."""

    def known(event: Mapping[str, Any], context: object) -> dict[str, object]:
        authenticated = event["signatureVerified"] is True and event["token"] == signer.token
        return {"isAuthenticated": authenticated, "principalId": "Signed", "policyDocuments": [POLICY]}

    authorizer = LocalAuthorizer(known, token_key_name="token", public_keys=(signer.keys.public_pem,))
    with LocalEndpoint({"python": authorizer}) as endpoint:
        yield endpoint


def called_since(endpoint: LocalEndpoint, before: int) -> bool:
    return any(isinstance(event, events.AuthorizerCalled) for event in endpoint.events.since(before))


# -- curl -------------------------------------------------------------------------------------------------------------


def curl(endpoint: LocalEndpoint, place: str, parameters: Mapping[str, str]) -> tuple[int, str]:
    """Publish with curl; return the status and the message of the answer."""
    assert CURL is not None
    url = f"https://localhost:{endpoint.port}/topics/devices%2Fcurl?qos=1"
    headers: list[str] = []
    if place == "headers":
        headers = [part for name, value in parameters.items() for part in ("-H", f"{name}: {value}")]
    else:
        url += "".join(f"&{name}={quote(value, safe='')}" for name, value in parameters.items())
    options = ["--silent", "--cacert", str(endpoint.ca_file), "--write-out", "\n%{http_code}"]
    done = subprocess.run(
        [CURL, *options, *headers, "--data", '{"counter": 0}', url],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)["message"]


@needs_curl
@PLACES
def test_curl_publishes_with_a_signed_token(service: LocalEndpoint, signer: Signer, place: str) -> None:
    before = service.events.last_sequence
    assert curl(service, place, signer.parameters()) == (200, "OK")
    published = service.wait_for(events.Published, after=before, timeout=WAIT)
    assert (published.topic, published.payload, published.qos) == ("devices/curl", b'{"counter": 0}', 1)


@needs_curl
@PLACES
@pytest.mark.parametrize(
    ("parameters", "cause"),
    [
        (lambda signer: signer.parameters("somebody-else"), "not_authenticated"),
        (lambda signer: signer.parameters(signature_of="another token"), "signature_invalid"),
        (lambda signer: signer.parameters(authorizer="nobody"), "authorizer_unknown"),
    ],
    ids=["wrong-token", "wrong-signature", "unknown-authorizer"],
)
def test_curl_is_told_forbidden_and_the_log_says_why(
    service: LocalEndpoint, signer: Signer, place: str, parameters: Callable[[Signer], dict[str, str]], cause: str
) -> None:
    before = service.events.last_sequence
    assert curl(service, place, parameters(signer)) == (403, "Forbidden")
    refused = service.wait_for(events.Refused, after=before, timeout=WAIT)
    assert (refused.cause, refused.status) == (cause, 403)
    assert called_since(service, before) == (cause == "not_authenticated")
    assert not [event for event in service.events.since(before) if event.kind == "published"]


# -- paho-mqtt --------------------------------------------------------------------------------------------------------


class Device:
    """A paho client over WebSocket, with the credentials in the headers of its upgrade."""

    def __init__(self, endpoint: LocalEndpoint, version: MQTTProtocolVersion, headers: Mapping[str, str]) -> None:
        self.endpoint = endpoint
        self.connected: queue.Queue[Any] = queue.Queue()
        self.subscribed: queue.Queue[Any] = queue.Queue()
        self.received: queue.Queue[bytes] = queue.Queue()
        self.disconnected: queue.Queue[Any] = queue.Queue()
        self.client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id="paho",
            protocol=version,
            transport="websockets",
            reconnect_on_failure=False,
        )
        client.tls_set(str(endpoint.ca_file))
        client.ws_set_options("/mqtt", dict(headers))
        client.on_connect = lambda client, userdata, flags, code, properties: self.connected.put(code)
        client.on_disconnect = lambda client, userdata, flags, code, properties: self.disconnected.put(code)
        client.on_subscribe = lambda client, userdata, mid, codes, properties: self.subscribed.put(codes)
        client.on_message = lambda client, userdata, message: self.received.put(message.payload)

    def connect(self) -> None:
        self.client.connect("localhost", self.endpoint.port)
        self.client.loop_start()


@VERSIONS
def test_paho_carries_messages_with_a_signed_token_in_its_headers(
    service: LocalEndpoint, signer: Signer, version: MQTTProtocolVersion
) -> None:
    device = Device(service, version, signer.parameters())
    device.connect()
    assert not device.connected.get(timeout=WAIT).is_failure
    device.client.subscribe("devices/paho", qos=1)
    assert [code.value for code in device.subscribed.get(timeout=WAIT)] == [1]
    for number in range(3):
        device.client.publish("devices/paho", f'{{"counter": {number}}}', qos=1).wait_for_publish(WAIT)
        assert device.received.get(timeout=WAIT) == b'{"counter": %d}' % number
    device.client.disconnect()
    device.client.loop_stop()


@VERSIONS
def test_paho_is_refused_with_a_wrong_token_in_its_headers(
    service: LocalEndpoint, signer: Signer, version: MQTTProtocolVersion
) -> None:
    before = service.events.last_sequence
    device = Device(service, version, signer.parameters("somebody-else"))
    device.connect()
    if version is MQTTProtocolVersion.MQTTv5:
        assert device.connected.get(timeout=WAIT).value == 135
    else:
        assert device.disconnected.get(timeout=WAIT).is_failure
        assert device.connected.empty()
    device.client.loop_stop()
    assert service.wait_for(events.Refused, after=before, timeout=WAIT).cause == "not_authenticated"


@VERSIONS
def test_the_upgrade_of_paho_is_refused_with_a_wrong_signature_and_the_function_is_not_called(
    service: LocalEndpoint, signer: Signer, version: MQTTProtocolVersion
) -> None:
    before = service.events.last_sequence
    device = Device(service, version, signer.parameters(signature_of="another token"))
    with pytest.raises(WebsocketConnectionError):
        device.connect()
    refused = service.wait_for(events.Refused, after=before, timeout=WAIT)
    assert (refused.cause, refused.status) == ("signature_invalid", 403)
    assert not called_since(service, before)


# -- a Node.js Lambda -------------------------------------------------------------------------------------------------

NODE_LAMBDA = """
exports.handler = async (event) => ({
  isAuthenticated: event.signatureVerified === true && event.token === %s && event.protocols.includes("http"),
  principalId: "NodeJs",
  policyDocuments: [%s],
});
"""


@pytest.fixture
def behind_node(signer: Signer, tmp_path: Path) -> Iterator[LocalEndpoint]:
    """An endpoint whose authorizer is a Node.js Lambda behind an Invoke URL."""
    file = tmp_path / "authorizer.js"
    file.write_text(NODE_LAMBDA % (json.dumps(signer.token), json.dumps(POLICY)))
    with node_lambda(file) as url:
        authorizer = LocalAuthorizer(url, token_key_name="token", public_keys=(signer.keys.public_pem,))
        with LocalEndpoint({"nodejs": authorizer}) as endpoint:
            yield endpoint


@needs_node
@needs_curl
@PLACES
def test_a_nodejs_lambda_behind_an_invoke_url_decides_on_what_curl_publishes(
    behind_node: LocalEndpoint, signer: Signer, place: str
) -> None:
    assert curl(behind_node, place, signer.parameters(authorizer="nodejs")) == (200, "OK")
    assert curl(behind_node, place, signer.parameters("somebody-else", authorizer="nodejs")) == (403, "Forbidden")
    unsigned = signer.parameters(authorizer="nodejs", signature_of="another token")
    assert curl(behind_node, place, unsigned) == (403, "Forbidden")
    answers = behind_node.events.of_kind(events.AuthorizerAnswered)
    assert [answer.outcome for answer in answers] == ["allowed", "denied"]  # the wrong signature never reached it
    assert [refused.cause for refused in behind_node.events.of_kind(events.Refused)] == [
        "not_authenticated",
        "signature_invalid",
    ]


@needs_node
@VERSIONS
def test_a_nodejs_lambda_behind_an_invoke_url_decides_on_a_websocket_of_paho(
    behind_node: LocalEndpoint, signer: Signer, version: MQTTProtocolVersion
) -> None:
    allowed = Device(behind_node, version, signer.parameters(authorizer="nodejs"))
    allowed.connect()
    assert not allowed.connected.get(timeout=WAIT).is_failure
    allowed.client.disconnect()
    allowed.client.loop_stop()
    assert behind_node.wait_for(events.Connected, timeout=WAIT).principal_id == "NodeJs"
    denied = Device(behind_node, version, signer.parameters("somebody-else", authorizer="nodejs"))
    denied.connect()
    assert denied.disconnected.get(timeout=WAIT).is_failure
    denied.client.loop_stop()
    assert behind_node.wait_for(events.Refused, timeout=WAIT).cause == "not_authenticated"
