"""The image that transfers are measured with."""

from pathlib import Path

from transfers import synthetic
from wardian.oci.model import LAYERS
from wardian.store.store import Store


def test_the_synthetic_image_is_whole_and_as_big_as_was_asked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = store.resolve(synthetic(store, 1))
    assert found
    image = store.manifest(found.digest)
    assert sum(layer.size for layer in image.layers) == 1_000_000
    assert all(store.has(layer.digest, layer.size) and layer.media_type in LAYERS for layer in image.layers)
    assert store.diff_ids(found.digest) == tuple(layer.digest for layer in image.layers)
