"""Methodology: every figure, factor and source, rendered from the tables that the code uses."""

from __future__ import annotations

import streamlit as st

from dashboard import context, tables, widgets
from dashboard.definitions import DEFINITIONS
from schemas import carbon, units
from schemas.reasons import REASONS

CONVERSIONS = (
    ("1 kWh", units.J_PER_KWH, "J"),
    ("1 kg", units.G_PER_KG, "g"),
    ("1 W", units.MW_PER_W, "mW (NVML)"),
    ("1 J", units.MJ_PER_J, "mJ (NVML)"),
    ("1 J", units.UJ_PER_J, "µJ (RAPL)"),
    ("1 MiB", units.BYTES_PER_MIB, "bytes"),
    ("1 h", units.S_PER_H, "s"),
)


def page() -> None:
    """Draw the page."""
    widgets.title("Methodology", "Every figure with its definition, every factor with its unit and source.")
    st.subheader("Figures", anchor=False)
    rows = list(DEFINITIONS.values())
    widgets.prose(
        ("Figure", "Unit", "What it means", "How it is made"),
        [(row.name, row.unit, row.meaning, row.formula) for row in rows],
    )
    st.subheader("Emissions", anchor=False)
    emissions()
    st.subheader("Conversions", anchor=False)
    st.caption(
        "Exact by definition (SI brochure, 9th edition). Energy is stored in kWh, mass in kg, power in W."
    )
    widgets.facts([(left, f"{factor:,.0f} {unit}") for left, factor, unit in CONVERSIONS])
    st.subheader("Times of this installation", anchor=False)
    times()
    st.subheader("Why a message is rejected", anchor=False)
    widgets.prose(("Code", "Meaning"), list(REASONS.items()))


def emissions() -> None:
    """The intensity table with its source, and the order of fallback."""
    table = carbon.table()
    world = carbon.intensity(None)
    widgets.facts(
        [
            ("Formula", "Emissions = energy × carbon intensity, per event (ISO/IEC 21031, SCI: E × I)"),
            ("Kind", f"Location-based, {table['kind']} intensity, {table['scope']}; {table['unit']}"),
            ("Order", "1. the intensity given with the event; 2. its country's; 3. the world average"),
            ("Country table", str(table["source"])),
            (
                "World average",
                f"{world.g_per_kwh:g} {table['unit']}, {world.year}, {world.scope}; {world.source}",
            ),
            (
                "PUE",
                "Never applied to energy at the device; where a document states one, it is shown beside it",
            ),
        ]
    )
    countries = table["countries"]
    codes = sorted(countries, key=lambda code: str(countries[code]["name"]))
    columns = [
        tables.text("Country", [str(countries[code]["name"]) for code in codes]),
        tables.text("Code", codes),
        tables.numbers(
            f"Intensity ({table['unit']})", [countries[code]["g_per_kwh"] for code in codes], "intensity"
        ),
        tables.text("Year", [str(countries[code]["year"]) for code in codes]),
    ]
    with st.expander(f"All {len(codes)} countries"):
        widgets.run_table(columns, "countries", "Carbon intensity by country")


def times() -> None:
    """Settings that figures depend on."""
    given = context.settings()
    widgets.facts(
        [
            ("Window", f"{given.stream.window_s} s of event time"),
            ("Watermark", f"{given.stream.watermark_s} s behind the largest event time"),
            ("Stale after", f"{given.dashboard.stale_after_s:g} s of silence"),
            ("Refresh", f"every {given.dashboard.refresh_s:g} s"),
        ]
    )
