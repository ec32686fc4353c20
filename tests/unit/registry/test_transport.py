"""Hosts of this machine, waits, certificates."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.registry.transport import is_loopback, retry_after, trust


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
