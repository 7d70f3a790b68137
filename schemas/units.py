"""Units and the only conversion constants of the project.

SI inside the producers (J, W, s); kWh and kg on the wire and in documents. The factors are exact by
definition (SI brochure, 9th edition: 1 kWh = 3.6 MJ).
"""

from __future__ import annotations

from enum import Enum

J_PER_KWH = 3.6e6
G_PER_KG = 1e3
MW_PER_W = 1e3
MJ_PER_J = 1e3
UJ_PER_J = 1e6
BYTES_PER_MIB = 1024**2
S_PER_H = 3600.0
MS_PER_S = 1000


class Unit(str, Enum):
    """Unit of a field; each also ends the field's name."""

    JOULE = "J"
    WATT = "W"
    SECOND = "s"
    KWH = "kWh"
    KG = "kg"
    G_PER_KWH = "g/kWh"
    PERCENT = "%"
    MIB = "MiB"
    CELSIUS = "°C"
    RATIO = "1"


def kwh_from_j(energy_j: float) -> float:
    """Joule to kilowatt-hour."""
    return energy_j / J_PER_KWH


def j_from_kwh(energy_kwh: float) -> float:
    """Kilowatt-hour to joule."""
    return energy_kwh * J_PER_KWH


def w_from_kwh(energy_kwh: float, over_s: float) -> float:
    """Mean power (W) of an energy (kWh) spread over an interval (s > 0)."""
    return energy_kwh * J_PER_KWH / over_s


def emissions_kg(energy_kwh: float, g_per_kwh: float) -> float:
    """Operational emissions E × I (ISO/IEC 21031, SCI), in kg CO2e."""
    return energy_kwh * g_per_kwh / G_PER_KG


def w_from_mw(power_mw: float) -> float:
    """Milliwatt (NVML) to watt."""
    return power_mw / MW_PER_W


def j_from_mj(energy_mj: float) -> float:
    """Millijoule (NVML) to joule."""
    return energy_mj / MJ_PER_J


def j_from_uj(energy_uj: float) -> float:
    """Microjoule (RAPL) to joule."""
    return energy_uj / UJ_PER_J


def mib_from_bytes(size: float) -> float:
    """Byte to MiB (2^20 bytes)."""
    return size / BYTES_PER_MIB
