"""Covering arrays: few rows of options, in which every pair of them occurs that can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Row = dict[str, Any]
Pair = frozenset[tuple[str, Any]]


def covering(
    factors: Mapping[str, Sequence[Any]], runs: Callable[[Row], bool]
) -> tuple[list[Row], list[Row]]:
    """Choose rows greedily.

    Parameters
    ----------
    factors : mapping of str to sequence
        The values of each option, the plainest first.
    runs : callable
        Whether a row can run.

    Returns
    -------
    rows : list of dict
        Rows that run, in which every pair occurs that occurs in any row that runs.
    refused : list of dict
        A row for each other pair, plain but for it.
    """
    every = [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]
    waiting = {pair for row in every for pair in pairs(row)}
    covers = [(row, set(pairs(row))) for row in every if runs(row)]
    waiting, impossible = set.union(*(pairs for _, pairs in covers)), waiting
    impossible = impossible - waiting
    rows = []
    while waiting:
        row, covered = max(covers, key=lambda item: len(item[1] & waiting))
        rows.append(row)
        waiting -= covered
    plain = {name: values[0] for name, values in factors.items()}
    # By their words in order: that of a set differs from process to process.
    refusals = sorted(impossible, key=lambda pair: sorted(map(repr, pair)))
    return rows, [{**plain, **dict(pair)} for pair in refusals]


def pairs(row: Row) -> Iterator[Pair]:
    """The pairs of options in a row."""
    return map(frozenset, combinations(row.items(), 2))
