"""The HTTP proxy: what may be written for it, what it means, and when the environment decides."""

from __future__ import annotations

import os

import pytest
from credentials_support import all_shown_by
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.proxy import HttpProxy, check_proxy, find_proxy, parse_proxy

SECRET = "QmarkerQ"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the machine of the developer has set."""
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy:3128", HttpProxy("proxy", 3128)),
        ("http://proxy:3128/", HttpProxy("proxy", 3128)),
        ("http://10.0.0.1:80", HttpProxy("10.0.0.1", 80)),
        ("http://[::1]:80", HttpProxy("::1", 80)),
        ("http://user:pass@proxy:80", HttpProxy("proxy", 80, "user", "pass")),
        ("http://us%40er:pa%2Fs%3As@proxy:80", HttpProxy("proxy", 80, "us@er", "pa/s:s")),
        ("http://user@proxy:80", HttpProxy("proxy", 80, "user", "")),
    ],
)
def test_a_proxy_url_is_read(url: str, proxy: HttpProxy) -> None:
    assert parse_proxy(url) == proxy
    check_proxy(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"https://u:{SECRET}@h:1", "must begin with http://"),
        (f"socks5://u:{SECRET}@h:1", "must begin with http://"),
        (f"{SECRET}:3128", "must begin with http://"),
        (f"http://u:{SECRET}@h", "needs a host and a port"),
        (f"http://u:{SECRET}@:80", "needs a host and a port"),
        (f"http://u:{SECRET}@h:1/path", "must end after the port"),
        (f"http://h:1?{SECRET}", "must end after the port"),
        (f"http://h:1#{SECRET}", "must end after the port"),
        (f"http://u:{SECRET}@h:99999", "is not a URL"),
        (f"http://h:{SECRET}", "is not a URL"),
        (f"http://u:{SECRET}/@h:1", "is not a URL"),
        (f"http://u:{SECRET}@[::1:1", "is not a URL"),
        (f"http://u:{SECRET}\u2100@h:1", "is not a URL"),
    ],
)
def test_what_is_no_proxy_url_is_refused_and_not_quoted(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_proxy(url)
    assert SECRET not in all_shown_by(caught.value)


@given(st.text(max_size=50))
def test_any_text_is_read_or_refused_with_a_value_error(text: str) -> None:
    message = "write http://host:port"
    try:
        parse_proxy(f"http://{text}")
    except ValueError as error:
        message = str(error)
    assert "write http://host:port" in message


def test_a_proxys_repr_shows_no_credentials() -> None:
    assert repr(HttpProxy("h", 1, SECRET, SECRET)) == "HttpProxy(h:1, with credentials)"
    assert repr(HttpProxy("h", 1)) == "HttpProxy(h:1)"


def test_without_a_setting_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://h:1")
    assert find_proxy(None, "endpoint", 443) is None


def test_a_url_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://other:1")
    monkeypatch.setenv("NO_PROXY", "*")
    assert find_proxy("http://h:2", "endpoint", 443) == HttpProxy("h", 2)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.parametrize("url", ["http://u:p@h:1", "u:p@h:1"])
def test_env_follows_the_environment(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_proxy("env")
    assert find_proxy("env", "endpoint.example", 443) is None
    monkeypatch.setenv(name, url)
    assert find_proxy("env", "endpoint.example", 443) == HttpProxy("h", 1, "u", "p")


@pytest.mark.parametrize(
    ("exceptions", "direct"),
    [
        ("*", True),
        ("endpoint.example", True),
        (".example", True),
        ("other, endpoint.example:443", True),
        ("endpoint.example:8443", False),
        ("other.example", False),
    ],
)
def test_no_proxy_names_what_is_reached_directly(
    exceptions: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://h:1")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (find_proxy("env", "endpoint.example", 443) is None) is direct


def test_a_bad_proxy_of_the_environment_is_refused_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"https://u:{SECRET}@h:1")
    with pytest.raises(ValueError, match="must begin with http://") as caught:
        find_proxy("env", "endpoint", 443)
    assert SECRET not in all_shown_by(caught.value)
