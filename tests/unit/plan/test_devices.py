"""GPUs by CDI: what there is, which a call gets, what they add."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import Unavailable, WardianError
from wardian.plan.containers import Bind
from wardian.plan.devices import Devices, Edits, choose, parse

SPEC: dict[str, Any] = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void", "FLAG="],
        "deviceNodes": [{"path": "/dev/nvidiactl"}],
        "mounts": [
            {
                "hostPath": "/usr/lib/libcuda.so.550",
                "containerPath": "/usr/lib/libcuda.so.550",
                "options": ["ro", "bind"],
            },
            {"hostPath": "/run/socket", "containerPath": "/run/socket"},
        ],
        "hooks": [
            {
                "hookName": "createContainer",
                "path": "/usr/bin/nvidia-cdi-hook",
                "args": ["nvidia-cdi-hook", "create-symlinks", "--link", "libcuda.so.1::/usr/lib/libcuda.so"],
            },
            {
                "hookName": "createContainer",
                "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", "/usr/lib/nvidia"],
            },
            {"hookName": "createContainer", "args": ["nvidia-cdi-hook", "chmod", "--folder", "/ignored"]},
        ],
    },
    "devices": [
        {"name": "10", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia10"}]}},
        {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/host/nvidia0"}]}},
        {"name": "2", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia2"}]}},
        {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}, {"path": "/dev/nvidia2"}]}},
    ],
}
KNOWN = parse(SPEC, "nvidia.yaml")
ONE = Devices({name: KNOWN.edits[name] for name in ("nvidia.com/gpu=0",)})


def test_a_device_has_its_own_edits_and_the_common_ones() -> None:
    edits = KNOWN.edits["nvidia.com/gpu=0"]
    assert edits.nodes == (Bind("/dev/nvidiactl", "/dev/nvidiactl"), Bind("/host/nvidia0", "/dev/nvidia0"))
    assert edits.env == (("NVIDIA_VISIBLE_DEVICES", "void"), ("FLAG", ""))
    assert edits.mounts == (
        Bind("/usr/lib/libcuda.so.550", "/usr/lib/libcuda.so.550", read_only=True),
        Bind("/run/socket", "/run/socket"),
    )
    assert edits.links == (("libcuda.so.1", "/usr/lib/libcuda.so"),)
    assert edits.libraries == ("/usr/lib/nvidia",)


def test_edits_add_up_without_repeating() -> None:
    both = KNOWN.edits["nvidia.com/gpu=0"] + KNOWN.edits["nvidia.com/gpu=2"]
    assert [node.target for node in both.nodes] == ["/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia2"]
    assert Edits() + both == both == both + both


@pytest.mark.parametrize(
    ("wish", "names"),
    [
        ("none", []),
        ("auto", ["all"]),
        ("all", ["all"]),
        ("1", ["0"]),
        ("2", ["0", "2"]),
        ("3", ["0", "2", "10"]),
        ("0", []),
        ("0,", ["0"]),
        ("10,2", ["10", "2"]),
        ("2,2", ["2"]),
        ("id=2", ["2"]),
        ("nvidia.com/gpu=10", ["10"]),
    ],
)
def test_which_devices_a_wish_gets(wish: str, names: list[str]) -> None:
    assert choose(wish, KNOWN) == tuple(f"nvidia.com/gpu={name}" for name in names)


@given(st.integers(0, 12), st.permutations(range(12)))
def test_a_count_takes_the_first_by_number_however_they_are_listed(count: int, order: list[int]) -> None:
    halves = [Devices({f"nvidia.com/gpu={at}": Edits() for at in half}) for half in (order[:5], order[5:])]
    assert choose(str(count), halves[0] | halves[1]) == tuple(f"nvidia.com/gpu={at}" for at in range(count))


def test_an_option_may_be_joined_to_its_value() -> None:
    hook = {"args": ["x", "update-ldcache", "--folder=/a", "--folder", "/b", "--folder"]}
    devices = [{"name": "0", "containerEdits": {"hooks": [hook]}}]
    edits = parse({"kind": "nvidia.com/gpu", "devices": devices}, "x").edits["nvidia.com/gpu=0"]
    assert edits.libraries == ("/a", "/b")


def test_without_a_device_for_all_each_is_named() -> None:
    assert choose("auto", ONE) == choose("all", ONE) == ("nvidia.com/gpu=0",)


def test_auto_and_none_need_nothing() -> None:
    assert choose("auto", Devices()) == choose("none", Devices()) == choose("0", Devices()) == ()


@pytest.mark.parametrize(
    ("wish", "known", "said"),
    [
        ("all", Devices(), "no CDI specification"),
        ("1", Devices(), "no CDI specification"),
        ("2", ONE, "there is nvidia.com/gpu=0"),
        ("0,7", KNOWN, "asked for (7)"),
        ("GPU-uuid", KNOWN, "there is nvidia.com/gpu=0"),
    ],
)
def test_what_is_asked_for_and_not_there_is_an_error(wish: str, known: Devices, said: str) -> None:
    with pytest.raises(Unavailable) as caught:
        choose(wish, known)
    assert said in caught.value.message
    assert "nvidia-ctk" in str(caught.value.hint)


def test_devices_that_are_no_gpus_are_not_taken() -> None:
    nic = parse({**SPEC, "kind": "vendor.com/nic", "containerEdits": {}}, "nic.json")
    assert choose("auto", nic) == ()
    amd = parse({**SPEC, "kind": "amd.com/gpu"}, "amd.json")
    assert choose("1", amd) == ("amd.com/gpu=0",)


@pytest.mark.parametrize(
    "data",
    [None, [], "text", {}, {"kind": "a/gpu"}, {"kind": "a/gpu", "devices": [{}]}, {**SPEC, "containerEdits": []}],
)
def test_what_is_no_specification_is_refused_by_name(data: Any) -> None:
    if data == {**SPEC, "containerEdits": []}:
        assert parse(data, "x.json").edits  # an empty list says nothing
        return
    with pytest.raises(WardianError, match=r"x\.json is not a CDI specification"):
        parse(data, "x.json")
