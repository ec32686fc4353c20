"""Manifests and indexes: read with suspicion, written canonically."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.errors import WardianError
from wardian.oci import model
from wardian.oci.model import Descriptor, Index, Manifest, canonical, diff_ids, oci_media_type

ZERO, ONE = "sha256:" + "0" * 64, "sha256:" + "1" * 64
CONFIG = Descriptor(model.CONFIG, ZERO, 2)
LAYER = Descriptor(model.LAYER_GZIP, ONE, 300)

json_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=10,
)
digests = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
texts = st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3)
descriptors = st.builds(
    Descriptor, st.text(max_size=20), digests, st.integers(0, 1 << 50), texts, st.none(), st.none() | st.just("a/b")
)


@given(descriptors, st.lists(descriptors, max_size=4), texts, st.none() | descriptors)
def test_a_manifest_comes_back(
    config: Descriptor, layers: list[Descriptor], notes: dict[str, str], subject: Descriptor | None
) -> None:
    manifest = Manifest(config, tuple(layers), notes, subject, "x/y" if subject else None)
    assert Manifest.parse(manifest.to_bytes()) == manifest
    assert Manifest.parse(manifest.to_bytes()).to_bytes() == manifest.to_bytes()


@given(st.lists(descriptors, max_size=4), texts)
def test_an_index_comes_back(entries: list[Descriptor], notes: dict[str, str]) -> None:
    index = Index(tuple(entries), notes)
    assert Index.parse(index.to_bytes()) == index


@given(json_value)
def test_any_json_is_a_document_or_an_error(value: Any) -> None:
    for kind in (Manifest, Index):
        try:
            kind.parse(json.dumps(value).encode())
        except WardianError:
            pass


@given(st.binary(max_size=100))
def test_any_bytes_are_a_document_or_an_error(content: bytes) -> None:
    with pytest.raises(WardianError):
        Manifest.parse(content)


def test_deeply_nested_json_is_an_error() -> None:
    with pytest.raises(WardianError):
        Manifest.parse(b"[" * 100_000)


def spoilt(**changes: Any) -> bytes:
    data = json.loads(Manifest(CONFIG, (LAYER,)).to_bytes()) | changes
    return json.dumps({name: value for name, value in data.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "manifest is not a JSON object"),
        (spoilt(layers=...), "no list of layers"),
        (spoilt(layers={}), "no list of layers"),
        (spoilt(layers=[1]), "layer 1 of a manifest is not a JSON object"),
        (spoilt(layers=[{**LAYER.to_json(), "digest": "sha256:../../x"}]), "layer 1 of a manifest has a digest"),
        (spoilt(layers=[{**LAYER.to_json(), "size": -1}]), "no valid size"),
        (spoilt(layers=[{**LAYER.to_json(), "size": True}]), "no valid size"),
        (spoilt(layers=[{**LAYER.to_json(), "size": "5"}]), "no valid size"),
        (spoilt(layers=[{**LAYER.to_json(), "mediaType": 5}]), "no mediaType"),
        (spoilt(config=...), "config of a manifest is not"),
        (spoilt(annotations={"a": 1}), "not text"),
        (spoilt(mediaType=model.INDEX), "not an image manifest"),
        (spoilt(mediaType="text/html"), "not an image manifest but 'text/html'"),
        (spoilt(schemaVersion=1, mediaType=...), "prettyjws"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said(content: bytes, said: str) -> None:
    with pytest.raises(WardianError, match=said):
        Manifest.parse(content)


def test_a_manifest_without_media_type_is_told_by_its_shape() -> None:
    assert Manifest.parse(spoilt(mediaType=...)).media_type == model.MANIFEST
    assert Index.parse(b'{"schemaVersion":2,"manifests":[]}').manifests == ()


def test_docker_manifests_are_understood() -> None:
    content = spoilt(mediaType=model.DOCKER_MANIFEST)
    assert Manifest.parse(content).layers == (LAYER,)
    assert oci_media_type("application/vnd.docker.image.rootfs.diff.tar.gzip") == model.LAYER_GZIP
    assert oci_media_type(model.LAYER_ZSTD) == model.LAYER_ZSTD


def test_canonical_json_is_the_same_for_equal_values() -> None:
    assert canonical({"b": 1, "a": [1, "é"]}) == '{"a":[1,"é"],"b":1}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


def test_diff_ids_must_match_the_layers() -> None:
    config = {"rootfs": {"type": "layers", "diff_ids": [ZERO, ONE]}}
    assert diff_ids(config, 2) == (ZERO, ONE)
    cases: list[tuple[dict[str, Any], str]] = [
        (config, "3 layers and 2 diff_ids"),
        ({}, "rootfs"),
        ({"rootfs": {"diff_ids": "x"}}, "no list of diff_ids"),
        ({"rootfs": {"diff_ids": ["x"]}}, "no list of diff_ids"),
    ]
    for wrong, said in cases:
        with pytest.raises(WardianError, match=said):
            diff_ids(wrong, 3)
