"""A key is the digest of what decides a layer, and of nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.oci.tar import MTIME
from wardian.plan.keys import EPOCH, FORMATS, key

JSON = st.recursive(st.text() | st.integers() | st.booleans() | st.none(), lambda inner: st.lists(inner, max_size=4))


def test_the_fixed_time_is_the_one_of_tar_entries() -> None:
    assert EPOCH == MTIME


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), JSON))
def test_the_same_fields_in_any_order_give_the_same_key(fields: dict[str, object]) -> None:
    fields.pop("kind", None)
    fields.pop("epoch", None)
    backwards = dict(reversed(fields.items()))
    made = key("run", EPOCH, **fields)
    assert made == key("run", EPOCH, **backwards)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", made)


@pytest.mark.parametrize("kind", FORMATS)
def test_kinds_never_meet(kind: str) -> None:
    others = {key(other, EPOCH, x=1) for other in FORMATS if other != kind}
    assert key(kind, EPOCH, x=1) not in others


def test_everything_counts() -> None:
    made = {key("run", EPOCH, line="a"), key("run", EPOCH, line="b"), key("run", 0, line="a"), key("run", EPOCH)}
    assert len(made) == 4


def test_a_name_that_is_not_utf8_has_a_key() -> None:
    assert key("files", EPOCH, path=b"\xff".decode("utf-8", "surrogateescape"))
