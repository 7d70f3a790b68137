"""What the simulated fleets are made of: machines, models and people. Invented, but of believable size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU type: idle and full board power, memory."""

    name: str
    idle_w: float
    max_w: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Machine:
    """A node type: CPU package and memory power at idle and at full load, cores, GPUs."""

    name: str
    cores: int
    cpu_idle_w: float
    cpu_max_w: float
    dram_idle_w: float
    dram_max_w: float
    memory_mib: float
    gpu: Gpu | None
    gpu_count: int


@dataclass(frozen=True, slots=True)
class Model:
    """A training job: what it asks of the node, and how its learning goes."""

    name: str
    dataset: str
    framework: str
    gpus: int
    cores: float
    gpu_load: float
    epochs: int
    steps_per_epoch: int
    first_loss: float
    last_loss: float
    last_accuracy: float


@dataclass(frozen=True, slots=True)
class Region:
    """Where a node stands: codes that clients send for it, and its offset from UTC (h)."""

    alpha_3: str | None
    alpha_2: str | None
    utc_offset_h: float


_BIG = Gpu("Sim A100-SXM4-80GB", 55.0, 400.0, 81_920.0)
_SMALL = Gpu("Sim RTX 3070", 15.0, 220.0, 8_192.0)

MACHINES: tuple[Machine, ...] = (
    Machine("big", 96, 110.0, 520.0, 24.0, 70.0, 1_048_576.0, _BIG, 8),
    Machine("small", 24, 35.0, 170.0, 6.0, 18.0, 131_072.0, _SMALL, 2),
    Machine("cpu", 64, 70.0, 350.0, 12.0, 40.0, 262_144.0, None, 0),
)

MODELS: tuple[Model, ...] = (
    Model("resnet50", "imagenet-1k", "pytorch", 4, 24, 0.92, 90, 1251, 6.9, 0.95, 0.762),
    Model("bert-base", "wikitext-103", "pytorch", 2, 12, 0.88, 12, 4200, 9.8, 1.9, 0.63),
    Model("mobilenet-v2", "cifar-100", "tensorflow", 1, 6, 0.74, 60, 390, 4.6, 0.8, 0.71),
    Model("unet", "carvana", "pytorch", 1, 8, 0.81, 40, 318, 0.69, 0.04, 0.985),
    Model("xgboost", "higgs", "xgboost", 0, 20, 0.0, 200, 50, 0.69, 0.47, 0.77),
    Model("mlp", "digits", "scikit-learn", 0, 3, 0.0, 30, 45, 2.3, 0.12, 0.97),
)

USERS: tuple[str, ...] = ("ada", "grace", "alan", "emmy", "katherine", "edsger", "barbara", "kurt")
PROJECTS: tuple[str | None, ...] = ("vision", "language", "tabular", None)
ENVIRONMENTS: tuple[str | None, ...] = ("research", "production", "staging", None)

REGIONS: tuple[Region, ...] = (
    Region("DEU", "de", 1.0),
    Region("FRA", "fr", 1.0),
    Region("SWE", "se", 1.0),
    Region("USA", "us", -6.0),
    Region("IND", "in", 5.5),
    Region(None, None, 0.0),
)
