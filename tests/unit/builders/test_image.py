"""Config and manifest: what an image takes from its base, and what it says of itself."""

from typing import Any

from tests.unit.plan.factory import PYTHON, locked, planned, simple, wheel
from wardian.builders.image import config_of, environment_of
from wardian.plan.images import Content, ImagePlan
from wardian.store.store import LayerRecord


def record(number: int) -> LayerRecord:
    digest = f"sha256:{number:064x}"
    return LayerRecord(digest, digest, 1, 1, "x")


def foreign(**image: Any) -> ImagePlan:
    images = {"train": {"from": "debian:12", **image}}
    content = Content(pylock="x", wheels=(wheel("rich"),))
    return planned(images, {"train": locked(base="debian:12", **PYTHON)}, {"train": content})["train"]


BASE = {
    "Env": ["PATH=/usr/local/nvidia/bin:/usr/bin", "NVIDIA=all", "A=base"],
    "Labels": {"org.opencontainers.image.title": "debian", "maintainer": "them", "dev.wardian.key": "x"},
    "User": "1000",
    "Cmd": ["bash"],
    "Entrypoint": ["/init"],
    "OnBuild": ["RUN x"],
    "Hostname": "abc",
    "WorkingDir": "/base",
    "ExposedPorts": {"80/tcp": {}},
}


def config(plan: ImagePlan, base: dict[str, Any] | None = None) -> dict[str, Any]:
    made = config_of(plan, base or {}, [], [record(at) for at in range(len(plan.layers))])
    found: dict[str, Any] = made["config"]
    return found


def test_the_environment_of_the_base_is_kept_beneath_ours() -> None:
    env = environment_of(config(foreign(env={"A": "ours", "B": "x=y"}), BASE))
    assert env["PATH"] == "/opt/env/bin:/usr/local/nvidia/bin:/usr/bin"
    assert (env["NVIDIA"], env["A"], env["B"], env["VIRTUAL_ENV"]) == ("all", "ours", "x=y", "/opt/env")


def test_a_path_of_the_user_is_kept_behind_the_environment() -> None:
    assert environment_of(config(foreign(env={"PATH": "/mine"}), BASE))["PATH"] == "/opt/env/bin:/mine"
    own = environment_of(config(foreign(env={"PATH": "/mine:/opt/env/bin"}), BASE))
    assert own["PATH"] == "/mine:/opt/env/bin"


def test_a_bootstrap_has_the_usual_path() -> None:
    assert environment_of(config(simple()))["PATH"].startswith("/opt/env/bin:/usr/local/sbin:")


def test_what_the_base_says_of_itself_is_left_out() -> None:
    labels = config(foreign(), BASE)["Labels"]
    assert labels["org.opencontainers.image.title"] == "train"
    assert labels["maintainer"] == "them"
    assert "dev.wardian.key" not in labels


def test_execution_is_the_bases_unless_it_is_set() -> None:
    plain = config(foreign(), BASE)
    assert (plain["User"], plain["Cmd"], plain["Entrypoint"], plain["WorkingDir"]) == (
        "1000",
        ["bash"],
        ["/init"],
        "/base",
    )
    assert plain["ExposedPorts"] == {"80/tcp": {}}
    assert "OnBuild" not in plain
    assert "Hostname" not in plain
    ours = config(foreign(entrypoint=["python"], workdir="/w"), BASE)
    assert (ours["Entrypoint"], ours["WorkingDir"]) == (["python"], "/w")
    assert "Cmd" not in ours, "a new entrypoint drops the old command"


def test_history_has_one_entry_for_each_layer() -> None:
    plan = foreign()
    records = [record(at) for at in range(len(plan.layers) + 2)]  # the base has three layers
    history = [{"created_by": f"base {at}"} for at in range(3)] + [{"created_by": "ENV", "empty_layer": True}]
    made = config_of(plan, {}, history, records)
    filled = [entry for entry in made["history"] if not entry.get("empty_layer")]
    assert len(filled) == len(made["rootfs"]["diff_ids"]) == len(records)
    assert filled[-2]["created_by"].startswith("wardian: bin")
    assert filled[-1]["created_by"] == "wardian: pylock.toml"


def test_times_are_fixed() -> None:
    made = config_of(simple(), {}, [], [record(at) for at in range(len(simple().layers))])
    assert made["created"] == "2020-01-01T00:00:00Z"
    assert {entry["created"] for entry in made["history"]} == {"2020-01-01T00:00:00Z"}


def test_the_platform_has_its_variant() -> None:
    plan = planned({"train": {"from": "x", "platform": "linux/arm64/v8"}}, {"train": locked(base="x")})["train"]
    made = config_of(plan, {}, [], [record(0)])
    assert (made["os"], made["architecture"], made["variant"]) == ("linux", "arm64", "v8")
