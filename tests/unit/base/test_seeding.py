"""Seeds follow from names alone."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import DataError, FleetError, IntegrityError
from fleet.seeding import derive_seed

PARTS = st.lists(st.one_of(st.integers(), st.text()), max_size=4)


def test_known_seeds_never_change() -> None:
    # A change of these breaks every resumed training and every published digest.
    assert derive_seed(0, "cam-01", "weights") == 6076055301518979638
    assert derive_seed() == 8203414616412130826


@given(PARTS, PARTS)
def test_different_parts_give_different_seeds(a: list[int | str], b: list[int | str]) -> None:
    same = [(type(x), x) for x in a] == [(type(x), x) for x in b]
    assert (derive_seed(*a) == derive_seed(*b)) is same


@given(PARTS)
def test_seeds_fit_a_torch_generator(parts: list[int | str]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63


@pytest.mark.parametrize("kind", [FleetError, DataError, IntegrityError])
def test_errors_cross_a_process_boundary_whole(kind: type[FleetError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("what", hint="mend")))
    assert type(copy) is kind
    assert (copy.message, copy.hint, str(copy)) == ("what", "mend", "what")
