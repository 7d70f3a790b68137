"""The training changes in the leaves of a forest: a distribution for each row that falls into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_jobs.forecast.series import LEVELS, Floats

# Rows whose distributions are summed up at once: bounds the memory at CHUNK x training rows x 8 bytes.
CHUNK = 128

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Leaves:
    """Training changes of a horizon (scaled, ascending) and the leaf of each in each tree, shape (n, trees)."""

    changes: Floats
    leaf: Ints


class Members:
    """The training changes of each leaf, laid out so that many rows are summed up at once."""

    def __init__(self, of: Leaves) -> None:
        self._changes = of.changes
        n, trees = of.leaf.shape
        self._order = np.argsort(of.leaf, axis=0, kind="stable")
        sizes = of.leaf.max(axis=0) + 1
        self._first = [
            np.searchsorted(of.leaf[self._order[:, t], t], np.arange(sizes[t] + 1)) for t in range(trees)
        ]
        self._n, self._trees = n, trees

    def quantiles(self, leaf: Ints) -> Floats:
        """Quantiles of the scaled change at LEVELS for rows that fall into these leaves, shape (n, trees)."""
        parts = [self._some(leaf[i : i + CHUNK]) for i in range(0, len(leaf), CHUNK)]
        return np.concatenate(parts)

    def _some(self, leaf: Ints) -> Floats:
        weights = np.zeros((len(leaf), self._n))
        for tree in range(self._trees):
            first = self._first[tree]
            low, high = first[leaf[:, tree]], first[leaf[:, tree] + 1]
            size = high - low
            rows = np.repeat(np.arange(len(leaf)), size)
            within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
            members = self._order[np.repeat(low, size) + within, tree]
            weights[rows, members] += np.repeat(1.0 / size, size)
        return np.stack([self._quantiles_of(row) for row in weights])

    def _quantiles_of(self, weights: Floats) -> Floats:
        held = np.flatnonzero(weights)
        mass = np.cumsum(weights[held])
        middle = (mass - weights[held] / 2) / mass[-1]
        return np.interp(LEVELS, middle, self._changes[held])


def table_of(horizon_s: int, of: Leaves) -> pa.Table:
    """As stored: a row per training change."""
    leaf = pa.FixedSizeListArray.from_arrays(pa.array(of.leaf.ravel().astype(np.int32)), of.leaf.shape[1])
    return pa.table(
        {
            "horizon_s": pa.array(np.full(len(of.changes), horizon_s, dtype=np.int32)),
            "change": pa.array(of.changes),
            "leaf": leaf.cast(pa.list_(pa.int32())),
        }
    )


def leaves_from(table: pa.Table, horizon_s: int) -> Leaves:
    """Read back what `table_of` wrote. Raises KeyError or ValueError where it is not that."""
    mine = table.filter(pc.equal(table["horizon_s"], horizon_s))
    n = mine.num_rows
    values = mine["leaf"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Leaves(mine["change"].to_numpy(), values.reshape(n, -1).astype(np.int64))
