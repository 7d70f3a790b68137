"""A machine that does not exist, with known truth: for demos, tests and new contributors.

CPU, memory and GPU power are sine waves whose phase and period follow from the seed; energy is their exact
integral. So every process that simulates the same seed sees the same machine, and `truth_j` is what it drew.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from producers.ports import ESTIMATED, GpuSample, Instant, Reading


@dataclass(frozen=True, slots=True)
class Wave:
    """P(t) = mean + swing · sin(2πt/period + phase), in W and s; swing <= mean keeps it positive."""

    mean_w: float
    swing_w: float
    period_s: float
    phase: float

    def power_w(self, at_s: float) -> float:
        """Power at a time."""
        return self.mean_w + self.swing_w * math.sin(self._angle(at_s))

    def energy_j(self, from_s: float, to_s: float) -> float:
        """The integral of the power, exactly."""
        turn = self.period_s / (2 * math.pi)
        bump = self.swing_w * turn * (math.cos(self._angle(from_s)) - math.cos(self._angle(to_s)))
        return self.mean_w * (to_s - from_s) + bump

    def _angle(self, at_s: float) -> float:
        return 2 * math.pi * at_s / self.period_s + self.phase


class SimulatedMeter:
    """A seeded machine with a CPU, memory and `gpus` GPUs. Its values are no measurement: `estimated`."""

    name = "simulated"
    measurement = ESTIMATED

    def __init__(self, seed: int = 0, gpus: int = 0, swing: float = 0.3) -> None:
        rng = random.Random(seed)  # noqa: S311 - a simulation, not a secret
        self.cpu = _wave(rng, 65.0, swing)
        self.dram = _wave(rng, 6.0, swing)
        self.gpus = tuple(_wave(rng, 250.0, swing) for _ in range(gpus))
        self.uuids = tuple(f"GPU-sim-{seed}-{index}" for index in range(gpus))
        self.devices: tuple[str, ...] = ("cpu", "dram", "gpu") if gpus else ("cpu", "dram")
        self._last_s: float | None = None

    def truth_j(self, from_s: float, to_s: float) -> float:
        """Energy of the whole simulated machine between two monotonic times."""
        return sum(wave.energy_j(from_s, to_s) for wave in (self.cpu, self.dram, *self.gpus))

    def sample(self, at: Instant) -> Reading:
        """Energy since the previous reading; the first gives none."""
        now_s, last_s = at.monotonic_s, self._last_s
        self._last_s = now_s

        def energy_j(wave: Wave) -> float | None:
            return None if last_s is None else wave.energy_j(last_s, now_s)

        gpus = tuple(
            GpuSample(
                uuid, index, "Simulated GPU", energy_j(wave), wave.power_w(now_s), measurement=ESTIMATED
            )
            for index, (uuid, wave) in enumerate(zip(self.uuids, self.gpus, strict=True))
        )
        return Reading(cpu_energy_j=energy_j(self.cpu), dram_energy_j=energy_j(self.dram), gpus=gpus)

    def close(self) -> None:
        """Nothing is held open."""


def _wave(rng: random.Random, mean_w: float, swing: float) -> Wave:
    return Wave(mean_w, mean_w * swing, rng.uniform(20.0, 90.0), rng.uniform(0.0, 2 * math.pi))
