"""Covering arrays: few rows of options, in which every pair of them occurs that can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import combinations, product
from operator import or_
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
    bits: dict[Pair, int] = {}  # of each pair, in a number that stands for a set of them
    for one, other in combinations(factors, 2):
        for values in product(factors[one], factors[other]):
            bits[frozenset(zip((one, other), values, strict=True))] = 1 << len(bits)
    of_values = {
        (one, a, other, b): bits[frozenset(((one, a), (other, b)))]
        for one, other in combinations(factors, 2)
        for a, b in product(factors[one], factors[other])
    }
    covers = []
    for values in product(*factors.values()):
        row = dict(zip(factors, values, strict=True))
        if runs(row):
            covered = 0
            for (one, a), (other, b) in combinations(row.items(), 2):
                covered |= of_values[one, a, other, b]
            covers.append((row, covered))
    waiting = reduce(or_, (covered for _, covered in covers))
    impossible = [pair for pair, bit in bits.items() if not bit & waiting]
    rows = []
    while waiting:
        row, covered = max(covers, key=lambda item: (item[1] & waiting).bit_count())
        rows.append(row)
        waiting &= ~covered
    plain = {name: values[0] for name, values in factors.items()}
    # By their words in order: that of a set differs from process to process.
    refusals = sorted(impossible, key=lambda pair: sorted(map(repr, pair)))
    return rows, [{**plain, **dict(pair)} for pair in refusals]


def pairs(row: Row) -> Iterator[Pair]:
    """The pairs of options in a row."""
    return map(frozenset, combinations(row.items(), 2))
