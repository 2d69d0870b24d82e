"""Handshakes and data in memory: both ends in one thread, no socket."""

import contextlib
import ssl
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from depth import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tls_clients import MemoryClient, client_context, in_records

from iot_customauth_client.local.certificates import Certificates
from iot_customauth_client.local.doors import ServedNames
from iot_customauth_client.local.front import Front, Hello
from iot_customauth_client.local.tls import TlsError, TlsStream, alert


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    with Certificates.open(None, ["localhost"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def context(certificates: Certificates) -> ssl.SSLContext:
    return certificates.server_context(["mqtt"])


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def trusting(certificates: Certificates, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> MemoryClient:
    ca = str(certificates.ca_file)
    return MemoryClient(client_context(ca=ca, alpn=["mqtt"], lowest=version, highest=version), "localhost")


def shake(client: MemoryClient, server: TlsStream) -> None:
    """Run both ends until the handshake is done on both; raises what either raises."""
    for _ in range(10):
        done = client.shake()
        received = server.receive(client.read())
        client.feed(received.to_write)
        if done and server.handshake_done:
            return
    raise AssertionError("the handshake does not end")


def failure_of(client: MemoryClient, server: TlsStream) -> TlsError:
    """The error the server ends with, whatever the client says before."""
    for _ in range(10):
        with contextlib.suppress(ssl.SSLError):  # its alert is in what it wants to send
            client.shake()
        try:
            client.feed(server.receive(client.read()).to_write)
        except TlsError as error:
            return error
    raise AssertionError("nothing failed")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_trusting_client_gets_through_and_data_flows_both_ways(
    certificates: Certificates, context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    client, server = trusting(certificates, version), TlsStream(context)
    assert (server.handshake_done, server.version) == (False, None)
    shake(client, server)
    assert (server.alpn, client.tls.selected_alpn_protocol()) == ("mqtt", "mqtt")
    assert server.version == client.tls.version() == {771: "TLSv1.2", 772: "TLSv1.3"}[version]
    client.tls.write(b"from the client")
    assert server.receive(client.read()) == (b"from the client", b"")
    client.feed(server.send(b"from the server"))
    assert client.tls.read(100) == b"from the server"


def test_no_session_ticket_follows_the_handshake(certificates: Certificates, context: ssl.SSLContext) -> None:
    client, server = trusting(certificates), TlsStream(context)
    client.shake()
    client.feed(server.receive(client.read()).to_write)
    client.shake()
    assert server.receive(client.read()) == (b"", b"")
    assert server.handshake_done


def test_data_right_behind_the_handshake_is_not_lost(certificates: Certificates, context: ssl.SSLContext) -> None:
    client, server = trusting(certificates), TlsStream(context)
    client.shake()
    client.feed(server.receive(client.read()).to_write)
    assert client.shake()
    client.tls.write(b"CONNECT")
    assert server.receive(client.read()).plaintext == b"CONNECT"


@given(
    parts=st.lists(st.integers(1, 40_000), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 120_000), max_size=6),
)
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_several_records_in_one_call_and_records_in_pieces_are_joined(
    certificates: Certificates, context: ssl.SSLContext, parts: list[int], cuts: list[int]
) -> None:
    client, server = trusting(certificates), TlsStream(context)
    shake(client, server)
    sent = [bytes([number]) * length for number, length in enumerate(parts)]
    for part in sent:
        client.tls.write(part)
    wire = client.read()
    edges = [0, *sorted(cuts), len(wire)]
    pieces = [server.receive(wire[a:b]).plaintext for a, b in pairwise(edges)]
    assert b"".join(pieces) == b"".join(sent)
    client.feed(server.send(memoryview(b"".join(sent))))
    answer = b""
    while len(answer) < sum(parts):
        answer += client.tls.read(65_536)
    assert answer == b"".join(sent)


def test_tls_reads_the_kept_bytes_as_if_nobody_had_looked(certificates: Certificates, context: ssl.SSLContext) -> None:
    client, server = trusting(certificates), TlsStream(context)
    client.shake()
    front = Front(ServedNames(["localhost"]))
    (hello,) = [output for byte in in_records(client.read(), 7) for output in front.receive(bytes([byte]))]
    assert isinstance(hello, Hello)
    client.feed(server.receive(hello.received).to_write)
    assert client.shake()
    server.receive(client.read())
    assert server.handshake_done


def test_close_notify_ends_the_stream_on_either_side(certificates: Certificates, context: ssl.SSLContext) -> None:
    client, server = trusting(certificates), TlsStream(context)
    shake(client, server)
    client.tls.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert server.receive(client.read()).plaintext == b"last words"
    assert server.eof
    client.feed(server.send(b"answer") + server.close())
    assert client.tls.read(100) == b"answer"
    client.tls.unwrap()
    assert server.close() == b""
    with pytest.raises(RuntimeError, match="TLS is not open"):
        server.send(b"too late")


def test_the_server_may_close_first(certificates: Certificates, context: ssl.SSLContext) -> None:
    client, server = trusting(certificates), TlsStream(context)
    shake(client, server)
    client.feed(server.close())
    with pytest.raises(ssl.SSLZeroReturnError):
        client.tls.read(1) or client.tls.unwrap() or client.tls.read(1)
    assert server.receive(b"anything") == (b"", b"")


def test_a_lost_connection_is_an_end_after_the_handshake_and_an_error_before(
    certificates: Certificates, context: ssl.SSLContext
) -> None:
    client, server = trusting(certificates), TlsStream(context)
    shake(client, server)
    server.end()
    assert server.eof
    half = TlsStream(context)
    with pytest.raises(TlsError, match="in the middle of the TLS handshake"):
        half.end()
    assert half.close() == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_does_not_trust_us_is_recognised(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    with Certificates.open(None, ["localhost"]) as another:
        error = failure_of(trusting(another, version), TlsStream(context))
    assert error.cause == "client_rejected_certificate"
    assert "does not trust ca.pem" in error.explanation


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_checks_another_host_name_is_recognised(
    certificates: Certificates, context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    stranger = client_context(ca=str(certificates.ca_file), lowest=version, highest=version)
    error = failure_of(MemoryClient(stranger, "elsewhere.example"), TlsStream(context))
    assert error.cause == "client_rejected_certificate"
    assert "host name" in error.explanation


def old_version() -> ssl.SSLContext:
    old = client_context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that TLS 1.1 is old is the point
        old.minimum_version = ssl.TLSVersion.TLSv1_1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    return old


def only_rsa() -> ssl.SSLContext:
    rsa = client_context(highest=ssl.TLSVersion.TLSv1_2)
    rsa.set_ciphers("AES128-GCM-SHA256")
    return rsa


@pytest.mark.parametrize(
    ("make", "cause", "alert_number"), [(old_version, "tls_version", 70), (only_rsa, "no_shared_cipher", 40)]
)
def test_a_client_with_nothing_in_common_gets_an_alert_and_is_explained(
    context: ssl.SSLContext, make: Callable[[], ssl.SSLContext], cause: str, alert_number: int
) -> None:
    error = failure_of(MemoryClient(make(), "localhost"), TlsStream(context))
    assert error.cause == cause
    assert error.to_write[0] == 21
    assert error.to_write[-2:] == bytes([2, alert_number])


def test_a_damaged_record_ends_in_an_error_that_keeps_what_came_before(
    certificates: Certificates, context: ssl.SSLContext
) -> None:
    client, server = trusting(certificates), TlsStream(context)
    shake(client, server)
    client.tls.write(b"whole")
    whole = client.read()
    client.tls.write(b"damaged")
    damaged = bytearray(client.read())
    damaged[-1] ^= 1
    with pytest.raises(TlsError) as caught:
        server.receive(whole + damaged)
    assert (caught.value.cause, caught.value.plaintext) == ("bad_record", b"whole")
    assert caught.value.to_write
    assert server.receive(whole) == (b"", b"")
    with pytest.raises(RuntimeError):
        server.send(b"x")


@given(data=st.binary(min_size=1, max_size=300), at=st.integers(0, 2_000), shaken=st.booleans())
@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_raise_anything_but_tls_errors(
    certificates: Certificates, context: ssl.SSLContext, data: bytes, at: int, shaken: bool
) -> None:
    client, server = trusting(certificates), TlsStream(context)
    if shaken:
        shake(client, server)
        client.tls.write(b"payload")
    else:
        client.shake()
    wire = client.read()
    with contextlib.suppress(TlsError):
        server.receive(wire[: at % len(wire)] + data)
    with contextlib.suppress(TlsError):
        server.end()
    assert server.receive(data) == (b"", b"")
    server.close()


@pytest.mark.parametrize(
    ("number", "words"), [(40, "HANDSHAKE_FAILURE"), (112, "UNRECOGNIZED_NAME"), (120, "NO_APPLICATION_PROTOCOL")]
)
def test_a_client_understands_our_alerts(number: int, words: str) -> None:
    client = MemoryClient(client_context(), "localhost")
    client.shake()
    client.feed(alert(number))
    with pytest.raises(ssl.SSLError) as caught:
        client.shake()
    assert words in str(caught.value).upper().replace(" ", "_")


def test_a_reason_that_python_has_no_name_for_is_still_shown(context: ssl.SSLContext) -> None:
    client, server = MemoryClient(client_context(), "localhost"), TlsStream(context)
    client.shake()
    with pytest.raises(TlsError, match="handshake failed: tlsv1 alert no application protocol"):
        server.receive(client.read() + alert(120))
