"""What is wrong with a file whose types are right; the rest of it is in tests/cases/spec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from wardian.spec.check import SIMPLE


@given(st.from_regex(SIMPLE, fullmatch=True))
def test_what_is_not_looked_at_closely_is_a_requirement(line: str) -> None:
    assert line.startswith(Requirement(line).name)


@pytest.mark.parametrize("line", ["torch==2.13.0", "numpy>=2,<3", "stable-baselines3", "zope.interface>=7"])
def test_most_are_not(line: str) -> None:
    assert SIMPLE.fullmatch(line)


@pytest.mark.parametrize("line", ["torch=2", "torch==", "-e .", "a b", "torch~=2", "torch==2.", "x[y", "", "torch>=2,"])
def test_what_may_be_wrong_is_looked_at(line: str) -> None:
    assert not SIMPLE.fullmatch(line)
