"""Sorting networks, by the 0-1 principle: what sorts all zeros and ones sorts everything (Knuth, vol. 3, 5.3.4)."""

from __future__ import annotations

from itertools import product

import pytest

from cropmap_core.timeseries.sorting import BOTH, HIGHER, LOWER, selection_network


def sent_through(values: tuple[int, ...], ranks: tuple[int, ...]) -> list[int | None]:
    """What stands in each place at the end; None where the network left nothing of use."""
    places: list[int | None] = list(values)
    for low, high, use in selection_network(len(values), ranks).tolist():
        lower, higher = sorted((places[low], places[high]))
        places[low] = lower if use in (BOTH, LOWER) else None
        places[high] = higher if use in (BOTH, HIGHER) else None
    return places


@pytest.mark.parametrize("size", range(1, 10))
def test_all_ranks_are_sorted(size: int) -> None:
    for values in product((0, 1), repeat=size):
        assert sent_through(values, tuple(range(size))) == sorted(values)


@pytest.mark.parametrize("size", range(1, 12))
def test_the_wanted_ranks_come_to_their_places(size: int) -> None:
    wanted = ((size - 1) // 2, size // 2)
    for values in product((0, 1), repeat=size):
        places = sent_through(values, tuple(dict.fromkeys(wanted)))
        assert [places[rank] for rank in wanted] == [sorted(values)[rank] for rank in wanted]


def test_a_network_for_four_is_batchers() -> None:
    assert selection_network(4, (0, 1, 2, 3))[:, :2].tolist() == [[0, 1], [2, 3], [0, 2], [1, 3], [1, 2]]


def test_what_leads_to_no_wanted_rank_is_left_out() -> None:
    """The least of four takes three comparisons, and none of them its higher value."""
    assert selection_network(4, (0,)).tolist() == [[0, 1, LOWER], [2, 3, LOWER], [0, 2, LOWER]]
