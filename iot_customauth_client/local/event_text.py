"""Events for people and for programs: one line of text, or one JSON object, for each.

What an event holds is fit to be shown: its maker has hidden the secrets, and payloads appear as sizes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from .events import DEFAULT_DOMAIN, Event

_Fields = Mapping[str, object]

_SENTENCES: Mapping[str, Callable[[_Fields], str]] = {
    "listening": lambda e: (
        f"listening on {e['host']}:{e['port']} for {_list(e['hostnames'])}; authorizers: {_list(e['authorizers'])}"
        f"{_domains(e['domains'])}"
    ),
    "opened": lambda e: f"opened from {e['peer']}",
    "proxied": lambda e: f"HTTP CONNECT to {e['target']}",
    "handshake": lambda e: (
        f"TLS {e['tls_version']}, SNI {e['server_name']}, ALPN {e['alpn'] or 'none'}{_domain(e['domain'])}"
    ),
    "turned_away": lambda e: f"turned away ({e['cause']}): {e['explanation']}",
    "http_request": lambda e: (
        f"{e['method']} {e['path']}{'' if e['query'] is None else '?' + str(e['query'])}, authorizer"
        f" {_or_none(e['authorizer'])}, {e['body_bytes']} bytes"
    ),
    "http_answered": lambda e: f"answered HTTP {e['status']}, trace id {e['trace_id']}",
    "warned": lambda e: f"WARNING ({e['cause']}): {e['explanation']}",
    "connect_received": lambda e: (
        f"CONNECT {e['protocol']}{_over(e['transport'])} client id {_quote(e['client_id'])}, user name"
        f" {_or_none(e['username'])}, authorizer {_or_none(e['authorizer'])}, keep alive {e['keep_alive_seconds']} s"
        f"{_domain(e['domain'])}"
    ),
    "authorizer_called": lambda e: f"authorizer {e['authorizer']} called with {_compact(e['event'])}",
    "authorizer_answered": lambda e: (
        f"authorizer {e['authorizer']} {_words(e['outcome'])} after {_seconds(e['elapsed_seconds'])} s"
        f"{_tail(e['explanation'])}"
    ),
    "connected": lambda e: (
        f"connected {e['protocol']} client id {_quote(e['client_id'])}, principal {e['principal_id']},"
        f" keep alive {e['keep_alive_seconds']} s{', session resumed' if e['session_present'] else ''}"
    ),
    "refused": lambda e: f"{_refused(e)}): {e['explanation']}",
    "decided": lambda e: (
        f"{'allowed' if e['allowed'] else 'DENIED'} {e['action']} on {e['resource']}: {e['explanation']}"
    ),
    "subscribed": lambda e: f"SUBSCRIBE {_list(e['topic_filters'])} -> {_list(e['reason_codes'])}",
    "unsubscribed": lambda e: f"UNSUBSCRIBE {_list(e['topic_filters'])}",
    "published": lambda e: f"PUBLISH to {_quote(e['topic'])}, {_message(e)}",
    "delivered": lambda e: f"delivered from {_quote(e['topic'])}, {_message(e)}",
    "acknowledged": lambda e: f"PUBACK for packet {e['packet_id']}",
    "queued": lambda e: f"stored for {_quote(e['topic_filter'])} from {_quote(e['topic'])}, {e['payload_bytes']} bytes",
    "dropped": lambda e: (
        f"DROPPED ({e['cause']}) {e['payload_bytes']} bytes of {_quote(e['topic'])}{_tail(e['explanation'])}"
    ),
    "session_ended": lambda e: f"session ended ({e['cause']}){_tail(e['explanation'])}",
    "disconnected": lambda e: f"disconnected ({e['reason']}): {e['explanation']}",
    "closed": lambda _: "closed",
    "stopped": lambda _: "stopped",
}


def event_line(event: Event) -> str:
    """Return one line: the time, the connection and its client id, and what happened. No line break at its end."""
    told = event.fields()
    sentence = _SENTENCES.get(event.kind)
    text = sentence(told) if sentence else _compact(told)
    at = f"{event.at.astimezone():%H:%M:%S.%f}"[:12] + "  " if event.at else ""
    connection = told.get("connection")
    who = f"#{connection}" if connection is not None else "-"
    client_id = told.get("client_id")
    if client_id and event.kind not in {"connected", "connect_received"}:
        who += f" {client_id}"
    return f"{at}{who}  {text}".translate(_CONTROLS)


def event_json(event: Event) -> str:
    """Return the event as one JSON object on one line, with the names of its fields (docs/endpoint-events.md)."""
    return json.dumps(event.fields(), ensure_ascii=False, default=str).translate(_JSON_CONTROLS)


_MOST_LISTED = 50  # of one list: all that a client may have subscribed to

# A client chooses its id and its topics: no text of it may move the cursor of a terminal or begin another line.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
# JSON itself escapes the first 32 only. The others can stand nowhere in it but in a text, so the text stays the same.
_JSON_CONTROLS = {code: f"\\u{code:04x}" for code in _CONTROLS}


def _message(told: _Fields) -> str:
    text = f"{told['payload_bytes']} bytes, QoS {told['qos']}"
    if told["retain"]:
        text += ", retained"
    if told.get("duplicate"):
        text += ", duplicate"
    return text


def _refused(told: _Fields) -> str:
    if told["status"] is not None:
        return f"request refused ({told['cause']}, HTTP {told['status']}"
    code = told["reason_code"]
    return f"CONNECT refused ({told['cause']}, {'hung up' if code is None else f'CONNACK {code}'}"


def _over(transport: object) -> str:
    return "" if transport == "tls" else f" over {transport}"


def _list(values: object) -> str:
    """Show the first few: a packet has room for 48,000 topic filters, of which a person reads none."""
    if not isinstance(values, list):
        return str(values)
    more = len(values) - _MOST_LISTED
    listed = ", ".join(map(str, values[:_MOST_LISTED]))
    return f"{listed} and {more:,} more" if more > 0 else listed or "none"


def _domain(name: object) -> str:
    return "" if name == DEFAULT_DOMAIN else f", domain configuration {name}"


def _domains(served: object) -> str:
    return f"; domain configurations: {_compact(served)}" if served else ""


def _quote(value: object) -> str:
    return f"`{value}`"


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)


def _words(slug: object) -> str:
    return str(slug).replace("_", " ")


def _seconds(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _tail(explanation: object) -> str:
    return f": {explanation}" if explanation else ""


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
