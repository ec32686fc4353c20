"""What a step sees of this machine, and what its layer must not."""

from pathlib import Path

from wardian.builders.steps import OURS, environment, passage
from wardian.hosts.machine import Machine


def test_a_step_sees_the_base_and_the_image() -> None:
    env = environment({"PATH": "/base", "A": "base"}, [("A", "ours"), ("PATH", "/opt/env/bin:$PATH")], 7)
    assert env["PATH"] == "/opt/env/bin:/base"
    assert (env["A"], env["SOURCE_DATE_EPOCH"], env["HOME"]) == ("ours", "7", "/root")


def test_a_base_without_a_path_has_the_usual_one() -> None:
    assert environment({}, [], 7)["PATH"].startswith("/usr/local/sbin:")


def test_only_a_path_is_completed() -> None:
    assert environment({}, [("A", "$PATH")], 7)["A"] == "$PATH"


def test_certificates_are_bound_and_announced(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.touch()
    binds, env = passage(Machine(ca_bundle=str(bundle)))
    (bound,) = [bind for bind in binds if bind.source == str(bundle)]
    assert bound.target.startswith(f"{OURS}/")
    assert bound.read_only
    for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        assert env[name] == bound.target


def test_a_bundle_that_is_not_there_is_not_announced(tmp_path: Path) -> None:
    binds, env = passage(Machine(ca_bundle=str(tmp_path / "gone")))
    assert "SSL_CERT_FILE" not in env
    assert not any(bind.source == str(tmp_path / "gone") for bind in binds)


def test_proxies_and_indexes_travel_as_variables() -> None:
    _, env = passage(Machine(index="https://pypi.lab/simple", proxies={"https": "http://proxy:3128"}, no_proxy="lab"))
    assert env["https_proxy"] == env["HTTPS_PROXY"] == "http://proxy:3128"
    assert (env["no_proxy"], env["PIP_INDEX_URL"], env["UV_DEFAULT_INDEX"]) == ("lab", *["https://pypi.lab/simple"] * 2)


def test_folders_of_wheels_are_bound_and_renamed(tmp_path: Path) -> None:
    binds, env = passage(Machine(find_links=(str(tmp_path), "https://example.org/links")))
    (bound,) = [bind for bind in binds if bind.source == str(tmp_path)]
    assert env["PIP_FIND_LINKS"] == f"{bound.target} https://example.org/links"
    assert env["UV_FIND_LINKS"] == f"{bound.target},https://example.org/links"


def test_nothing_of_ours_lies_where_layers_look() -> None:
    assert OURS.startswith("/run/")
