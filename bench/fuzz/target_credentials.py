"""What a client presents to be let in: what is read of it, what is asked of an authorizer, and what the log shows.

An input says which of a few kinds of endpoint it is for, which carrier, and holds the text of a user name, a query or
headers. Every secret that is put in holds the same marker. Promises:

- nothing is raised; there is a question or a refusal, and a refusal has one line that is not endless;
- the marker is in no event, no explanation, no repr and no path, also where a function puts it into its answer or into
  its error;
- what `carriage` writes is read as what was written, in each carrier;
- thousands of parameters take no time.
"""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iot_customauth_client.carriage import (
    RawCredentials,
    read_headers,
    read_path,
    read_username,
    redact_headers,
    redact_path,
    redact_username,
    write_connect,
    write_headers,
    write_path,
)
from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local.authentication import Authentication, Question, Refusal, judge
from iot_customauth_client.local.authorizer_calls import Answer
from iot_customauth_client.local.authorizers import LocalAuthorizer
from iot_customauth_client.local.event_text import event_json, event_line
from iot_customauth_client.local.events import (
    AuthorizerAnswered,
    AuthorizerCalled,
    ConnectReceived,
    HttpRequested,
    Refused,
    Warned,
)
from iot_customauth_client.local.http_names import PUBLISH_PARAMETERS
from iot_customauth_client.local.presented import HttpPart, MqttPart, Presented
from iot_customauth_client.local.redaction import scrub, shown_event, shown_query

from .broker_watch import is_control
from .dice import InputDice
from .mutation import mutate
from .target import Outcome, Target, ensure

MARKER: Final = "s3cr3tMARKERs3cr3tMARKER"
MOST_SHOWN: Final = 20_000
"""Characters that one event may have besides what a function answered: more would fill the log's memory."""

_NAMES: Final = (
    *("x-amz-customauthorizer-name", "x-amz-customauthorizer-signature", "token", "tokenKey", "SDK", "Version"),
    *(
        "X-Amz-CustomAuthorizer-Name",
        "x-amz-customauthorizer-nam",
        "x-amz-custom-authorizer-name",
        "a",
        "é",
        "%20",
        "qos",
    ),
    *("X-Amz-Algorithm", "X-Amz-Signature", "retain", "contentType"),
)
_VALUES: Final = (
    *(MARKER, MARKER, MARKER[:20], MARKER + "%0a", "signing", "open", "unknown", "off", "sign%69ng", "", "%", "%zz"),
    *(f"{MARKER}'\"\\", f"é{MARKER}", MARKER * 20, f"{MARKER}==", "%C3%A9" + MARKER, "AAAA", "''"),
)
_HEADERS: Final = (
    "authorization",
    "token",
    "x-amz-customauthorizer-signature",
    "cookie",
    "x-odd",
    "host",
    "user-agent",
)


@cache
def endpoints() -> tuple[Authentication, ...]:
    """Endpoints with and without a default authorizer, which signs or does not."""
    pem = (
        rsa.generate_private_key(65_537, 2_048)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )

    def function(event: object, context: object) -> object:
        del event, context
        return {}

    authorizers = {
        "signing": LocalAuthorizer(function, token_key_name="token", public_keys=(pem,)),
        "open": LocalAuthorizer(function, signing_disabled=True, token_key_name="tokenKey"),
        "bare": LocalAuthorizer(function, signing_disabled=True),
        "off": LocalAuthorizer(function, signing_disabled=True, status="INACTIVE"),
    }
    return tuple(Authentication(authorizers, default) for default in (None, "signing", "open", "bare"))


def make(seed: random.Random) -> bytes:
    """A few parameters as one text; now and then thousands of them; two in three with something wrong."""
    if seed.random() < 0.004:
        parts = [_part(seed) for _ in range(20)]
        size = seed.choice((2_000, 16_000))
        many = [
            seed.choice(parts) if seed.random() < 0.3 else f"{seed.randrange(10**5):x}={seed.randrange(10**5):x}"
            for _ in range(size)
        ]
        text = "&".join(many)[:65_000]
    elif seed.random() < 0.004:
        text = seed.choice(("x-amz-customauthorizer-nam", "%", "a", "é")) * seed.choice((300, 2_000)) + "=" + MARKER
    else:
        text = "&".join(_part(seed) for _ in range(seed.randrange(7)))
    text = seed.choice(("", "user01", MARKER, f"{MARKER}?", "é")) + seed.choice(("?", "?", "?", "", "??")) + text
    data = text.encode()
    if seed.random() < 0.6:
        data = mutate(data, seed)
    return seed.randbytes(8) + data


def _part(seed: random.Random) -> str:
    """A parameter; a secret stands in a value, or was pasted where there is no name."""
    kind = seed.random()
    if kind < 0.1:
        return seed.choice((MARKER, f"{MARKER}=", f"{MARKER}=="))
    return f"{seed.choice(_NAMES)}={seed.choice(_VALUES)}" if kind < 0.97 else seed.choice(_NAMES)


def run(data: bytes) -> Outcome:
    """Present the text, ask, answer, and look at what is told."""
    dice = InputDice(data)
    kind, carrier, answer = dice.below(4), dice.below(4), dice.below(8)
    dice.bytes(2)
    flags = dice.bytes(3)
    text = dice.rest.decode("utf-8", "replace").replace("\0", "")
    if _puts_the_marker_where_names_are(text):
        return Outcome("a secret as a name")
    presented = _present(text, carrier, flags)
    parts = [repr(presented), redact_username(text), redact_path("/mqtt?" + text), shown_query(text)]
    parts += [repr(read_username(text)), repr(read_path("/topics/a?" + text))]
    ensure(not any(MARKER in part for part in parts), "a secret is in no repr and in nothing that was redacted")
    told: list[str] = []
    authentication = endpoints()[kind]
    name = authentication.wanted(presented)
    if presented.http is not None:
        told.append(
            event_line(
                HttpRequested(
                    1, "trace", "POST", "/topics/a", shown_query(presented.http.query or ""), name, "query", 0
                )
            )
        )
    if presented.mqtt is not None:
        username = presented.mqtt.username
        received = ConnectReceived(
            1, "c", "mqtt5", None if username is None else redact_username(username), name, 60, True, None, "tls"
        )
        told += [event_line(received), event_json(received)]
    told += [event_line(Warned(1, *warning)) for warning in authentication.warnings(presented)]
    authentication.carrier(presented)
    early = authentication.check_upgrade(presented)
    question = authentication.question(presented, connection_id="id")
    label = _ask(question, answer, told) if isinstance(question, Question) else question.cause
    if isinstance(question, Refusal):
        ensure(len(question.explanation) < MOST_SHOWN, "a refusal is not endless")
        told.append(event_line(Refused(1, "c", question.cause, None, question.explanation)))
    for each in told:
        ensure(MARKER not in each, "a secret is not told")
        ensure(len(each.splitlines()) == 1 and not any(map(is_control, each)), "what is told is one line")
    _check_round_trip(text, flags)
    return Outcome(f"{label}{', known at the upgrade' if early is not None else ''}")


def _puts_the_marker_where_names_are(text: str) -> bool:
    """Tell whether mutation made the marker the name of a parameter, or the value of one that may be shown."""
    for part in (*text.split("&"), *text.replace("?", "&").split("&")):
        name, _, value = part.partition("=")
        if MARKER in name and value.strip("="):
            return True
        if MARKER in value and (name in PUBLISH_PARAMETERS or name.lower() == "x-amz-customauthorizer-name"):
            return True
    return any(
        MARKER in value for name, value in read_username(text).parameters if name == "x-amz-customauthorizer-name"
    )


def _present(text: str, carrier: int, flags: bytes) -> Presented:
    password = MARKER.encode() if flags[0] & 1 else None
    mqtt = MqttPart(text, password, "client")
    if carrier == 0:
        return Presented("localhost", None, mqtt)
    headers = tuple((_HEADERS[flag % len(_HEADERS)], MARKER) for flag in flags if flag & 2)
    headers = tuple((name, value) for name, value in headers if name not in ("host", "user-agent"))
    if carrier == 1:
        split = [part.partition("=") for part in text.split("&")[:20]]
        given = tuple((name.lower(), value) for name, _, value in split if name)
        return Presented("localhost", HttpPart((*headers, *given), None), mqtt if flags[1] & 1 else None)
    return Presented("localhost", HttpPart(headers, text), MqttPart("user", password, "") if carrier == 3 else None)


_RESULT: Final = {
    "isAuthenticated": True,
    "principalId": "p",
    "disconnectAfterInSeconds": 300,
    "refreshAfterInSeconds": 300,
}
_DOCUMENT: Final = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}


def _ask(question: Question, how: int, told: list[str]) -> str:
    """Answer as functions do: well, wrongly, with the event in the answer, or with an error that quotes it."""
    event = question.event
    told.append(repr(question))
    told.append(event_line(AuthorizerCalled(1, question.name, dict(shown_event(event)))))
    username = event.get("protocolData", {}).get("mqtt", {}).get("username", "")
    if how in (2, 3) and MARKER in read_username(username).base:
        how = 1  # the base user name may be told, since it often is the principal id
    dumped = json.dumps(event)
    answers = (
        Answer("answered", 0.1, {**_RESULT, "policyDocuments": [_DOCUMENT] * 10}),
        Answer("answered", 0.1, {"isAuthenticated": False, "context": dumped}),
        Answer("answered", 0.1, {**_RESULT, "policyDocuments": [dumped], "principalId": event.get("token", "")}),
        Answer("answered", 0.1, {**_RESULT, "policyDocuments": [{**_DOCUMENT, "Id": dumped}]}),
        Answer("failed", 0.1, None, scrub(f"ValueError: {event!r}", event)),
        Answer("failed", 0.1, None, scrub(f"KeyError: {event.get('token', '')!r}", event)),
        Answer("invalid", 0.1, None, scrub(dumped, event)),
        Answer("timed_out", 5.0, None, "it took too long"),
    )
    verdict = judge(question, answers[how], show_secrets=False)
    ensure((verdict.result is None) != (verdict.refusal is None), "there is a result or a refusal")
    explanation = verdict.refusal.explanation if verdict.refusal else ""
    answered = AuthorizerAnswered(1, question.name, verdict.outcome, 0.1, verdict.shown, explanation)
    told += [event_line(answered), event_json(answered)]
    return f"asked: {verdict.outcome}"


def _check_round_trip(text: str, flags: bytes) -> None:
    """Write the text's parts as credentials into each carrier, and read them again."""
    pieces = [*text[:300].split("&"), "", "", ""][:4]
    raw = RawCredentials(
        username=pieces[0].replace("?", "") if flags[0] & 4 else "",
        password=pieces[1].encode() if flags[0] & 8 else None,
        authorizer=pieces[1] if flags[0] & 16 else None,
        signature=pieces[2] if flags[0] & 32 else None,
        token_key_name="token" if flags[0] & 64 else None,
        token=pieces[3] if flags[0] & 64 else None,
        parameters=(("p" + pieces[2].replace(MARKER, ""), pieces[0]),) if flags[0] & 128 else (),
    )
    expected = {
        **({"x-amz-customauthorizer-name": raw.authorizer} if raw.authorizer is not None else {}),
        **({"x-amz-customauthorizer-signature": raw.signature} if raw.signature is not None else {}),
        **({"token": raw.token} if raw.token is not None else {}),
    }
    written = write_connect(raw)
    ensure(
        MARKER not in repr(raw) and (MARKER not in repr(written) or MARKER in (raw.authorizer or "")),
        "credentials have no secret in their repr",
    )
    read = read_username(written.username or "")
    ensure(read.base == raw.username, "the base user name comes back")
    ensure(read.parameters == (*expected.items(), *raw.parameters), "the user name's query comes back")
    path = read_path(write_path("/mqtt", raw))
    ensure(path.parameters == (*expected.items(), *raw.parameters), "the query of a path comes back")
    try:
        headers = write_headers(raw)
    except ConfigurationError as error:
        ensure(MARKER not in str(error) or MARKER in (pieces[2] or ""), "a refusal to write quotes no value")
        return
    ensure(
        read_headers(headers).parameters == tuple((name.lower(), value) for name, value in headers), "headers come back"
    )
    redact_headers(headers)


CREDENTIALS: Final = Target(
    "credentials",
    0.05,
    make,
    run,
    (
        *(
            f"local/{name}.py"
            for name in ("presented", "authentication", "credential_advice", "redaction", "signatures")
        ),
        "carriage.py",
        "authorizer/event.py",
    ),
)
