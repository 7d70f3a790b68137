"""Memory power from its size, where no DRAM counter is readable: marked `estimated`.

0.375 W per GiB: 3 W per 8 GB of DDR3/DDR4, Crucial's figure, which codecarbon used for all machines before
its version 3. It is drawn whether the memory is used or not.
"""

from __future__ import annotations

import psutil

from producers.ports import ESTIMATED, Instant, Reading
from schemas.units import mib_from_bytes

W_PER_GIB = 0.375
MIB_PER_GIB = 1024


class RamMeter:
    """Energy of the machine's memory estimated from its size (`total_gib`, this machine's if not given)."""

    name = "ram_estimate"
    measurement = ESTIMATED
    devices: tuple[str, ...] = ("dram",)

    def __init__(self, total_gib: float | None = None) -> None:
        if total_gib is None:
            total_gib = mib_from_bytes(psutil.virtual_memory().total) / MIB_PER_GIB
        self.power_w = W_PER_GIB * total_gib
        self._last_s: float | None = None

    def sample(self, at: Instant) -> Reading:
        """Energy since the previous reading; the first gives none."""
        last_s, self._last_s = self._last_s, at.monotonic_s
        if last_s is None:
            return Reading()
        return Reading(dram_energy_j=self.power_w * (at.monotonic_s - last_s))

    def close(self) -> None:
        """Nothing is held open."""
