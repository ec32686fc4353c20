"""Hosts of this machine, waits, certificates."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import Unavailable, WardianError
from wardian.registry.transport import Transport, is_loopback, proxy_for, retry_after, trust


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("registry.localhost", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.10", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("registry.example", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_names(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(said: str | None, seconds: float | None) -> None:
    assert retry_after(said, 100.0) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_breaks_it(said: str) -> None:
    found = retry_after(said, 0.0)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "http://p:1"),
        ({"https_proxy": "p:1"}, "http://p:1"),
        ({"http_proxy": "http://p:1"}, None),
        ({"ALL_PROXY": "http://all:1"}, "http://all:1"),
        ({"ALL_PROXY": "http://all:1", "https_proxy": "http://p:1"}, "http://p:1"),
        ({"https_proxy": ""}, None),
        ({"https_proxy": "p:1", "no_proxy": "other.example, registry.example"}, None),
        ({"https_proxy": "p:1", "NO_PROXY": "registry.example"}, None),
        ({"https_proxy": "p:1", "no_proxy": "", "NO_PROXY": "registry.example"}, None),
    ],
)
def test_proxies_are_the_environments(environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for("https", "registry.example", environ) == proxy


@pytest.mark.parametrize(
    ("host", "said", "passed"),
    [
        ("registry.corp.example", "*", True),
        ("registry.corp.example", "corp.example", True),
        ("registry.corp.example", ".corp.example", True),
        ("registry.corp.example", "*.corp.example", True),
        ("REGISTRY.corp.example:5000", "Registry.Corp.Example", True),
        ("registry.corp.example:5000", "registry.corp.example:5000", True),
        ("registry.corp.example:5000", "registry.corp.example:443", False),
        ("registry.corp.example", "registry.corp.example:443", True),
        ("notcorp.example", "corp.example", False),
        ("corp.example.evil", "corp.example", False),
        ("10.1.2.3:5000", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("[fd00::1]:5000", "fd00::/8", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("a.example", "x y.example\ta.example", True),
        ("a.example", "", False),
        ("a.example", ",,", False),
    ],
)
def test_no_proxy_names_hosts_domains_networks_and_ports(host: str, said: str, passed: bool) -> None:
    assert (proxy_for("https", host, {"https_proxy": "p:1", "no_proxy": said}) is None) is passed


@given(st.text(max_size=40))
def test_no_list_of_exceptions_breaks_it(said: str) -> None:
    proxy_for("https", "registry.example:5000", {"https_proxy": "p:1", "no_proxy": said})


@pytest.mark.parametrize("proxy", ["socks5://ada:s3cret@p:1080", "ftp://ada:s3cret@p"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(proxy: str) -> None:
    with (
        Transport({"https_proxy": proxy}) as transport,
        pytest.raises(Unavailable, match=r"proxy .* cannot be used") as caught,
    ):
        transport.get("https://registry.example/v2/", {})
    assert "s3cret" not in str(caught.value)


def test_a_bundle_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundle.pem").write_text("not a certificate")
    with pytest.raises(WardianError, match="certificates for example cannot be read"):
        trust("example", {"SSL_CERT_FILE": str(tmp_path / "bundle.pem")}, None)
    with pytest.raises(WardianError, match="cannot be read"):
        trust("example", {}, tmp_path / "absent.pem")


def test_certificates_are_checked() -> None:
    context = trust("example", {}, None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
