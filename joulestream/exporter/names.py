"""Names that become labels: at most so many, each for the life of the process."""

from __future__ import annotations

from collections.abc import Mapping

from joulestream.exporter.metrics import OTHER, UNKNOWN


class Names:
    """Who has series of their own: the largest at the first look, then whoever comes while there is room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def admit(self, sizes: Mapping[str, float]) -> None:
        """Give the largest of these names a label each, as far as there is room."""
        new = sorted(sizes.keys() - self._known, key=lambda name: (-sizes[name], name))
        self._known.update(new[: max(0, self._most - len(self._known))])

    def label(self, name: object) -> str:
        """The label of a name: itself, `other`, or `unknown` where there is none."""
        if not isinstance(name, str) or not name:
            return UNKNOWN
        return name if name in self._known else OTHER
