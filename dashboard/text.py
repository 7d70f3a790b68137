"""Names from the data are text, whatever they contain: one function per place that would read them otherwise.

Markdown is not in the list: Streamlit's has colours, icons and emoji that no escape stops, so no name ever
goes into it; names stand in HTML (escaped here), in data frames, in `st.text` and in options of widgets.
"""

from __future__ import annotations

import html
import unicodedata

SHORT = 36
# Characters that a name may use to look like another: control, format (bidirectional), surrogates.
HIDDEN = {"Cc", "Cf", "Cs"}


def visible(name: str) -> str:
    """A name with its invisible characters made visible."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in HIDDEN else c for c in name)


def shortened(name: str, limit: int = SHORT) -> str:
    """A name of at most `limit` characters: its beginning and its end."""
    shown = visible(name)
    if len(shown) <= limit:
        return shown
    tail = limit // 3
    return f"{shown[: limit - tail - 1]}…{shown[-tail:]}"


def for_html(name: str) -> str:
    """A name inside HTML text or a quoted attribute."""
    return html.escape(visible(name), quote=True)


def for_plotly(name: str, limit: int = SHORT) -> str:
    """A name inside a Plotly text, which reads a subset of HTML and, between dollar signs, formulas."""
    return html.escape(shortened(name, limit), quote=False).replace("$", "&#36;")
