"""Pieces of which the pages are made: live parts, error and empty states, cards, charts with their table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import context
from dashboard.charts.base import Chart
from dashboard.definitions import DEFINITIONS, help_of
from dashboard.store import StoreAway
from dashboard.tables import Column, frame
from dashboard.text import for_html, visible
from schemas.errors import PipelineError, RetryableError

LIVE_KEY = "live"
PAGES = "pages"
# Its buttons would lie over the legend; a double click takes a zoom back.
PLOT_CONFIG = {"displayModeBar": False}
STATUS_MARKS = {"running": "●", "stale": "◌", "completed": "✓", "failed": "✕", "stopped": "■"}


@dataclass(frozen=True)
class Card:
    """One figure. `definition` is its key in `definitions`."""

    label: str
    value: str
    definition: str
    trend: Sequence[float] | None = None


def guarded(part: Callable[..., None]) -> Callable[..., None]:
    """The part, or what went wrong and what to do about it."""

    @wraps(part)
    def shown(*args: Any, **kwargs: Any) -> None:
        try:
            part(*args, **kwargs)
        except StoreAway as error:
            st.error(
                f"**The store is away.** {_sentence(error)}  \nThis page tries again by itself.",
                icon=":material/cloud_off:",
            )
        except RetryableError as error:
            st.warning(_sentence(error), icon=":material/hourglass_empty:")
        except PipelineError as error:
            st.error(_sentence(error), icon=":material/warning:")

    return shown


def _sentence(error: Exception) -> str:
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def live(part: Callable[..., None]) -> Callable[..., None]:
    """The part, drawn again every `dashboard.refresh_s` by itself, without the rest of the page."""
    every = context.settings().dashboard.refresh_s if st.session_state.get(LIVE_KEY, True) else None
    fragment: Callable[..., None] = st.fragment(guarded(part), run_every=every)
    return fragment


def await_store() -> None:
    """In place of a page: says that the store is away, and draws the page once it is back."""

    def retry() -> None:
        context.store().ping()
        st.rerun()

    st.fragment(guarded(retry), run_every=max(2.0, context.settings().dashboard.refresh_s))()


def title(text: str, subtitle: str) -> None:
    """Heading of a page; fixed words only."""
    st.title(text, anchor=False)
    st.caption(subtitle)


def note(text: str) -> None:
    """A line of plain text, names included, in the look of a caption."""
    st.html(f'<p class="js-note">{for_html(text)}</p>')


def cards(items: Sequence[Card]) -> None:
    """Figures side by side; they wrap on a narrow screen."""
    with st.container(horizontal=True, gap="xsmall"):
        for item in items:
            st.metric(
                item.label,
                item.value,
                help=help_of(item.definition),
                border=True,
                chart_data=item.trend or None,
                chart_type="area",
            )


def chart(item: Chart, key: str) -> None:
    """A chart, its summary in words, and its numbers one click away."""
    st.plotly_chart(item.figure, key=key, config=PLOT_CONFIG, alt=visible(item.summary))
    note(item.summary)
    with st.expander("Show data"):
        table(item.table, key=f"{key}-data", alt="Data of the chart above")


def table(columns: Mapping[str, Sequence[Any]], key: str, alt: str, **options: Any) -> Any:
    """A read-only table; texts in it are shown as they are."""
    frame = pd.DataFrame({name: list(values) for name, values in columns.items()})
    return st.dataframe(frame, key=key, hide_index=True, alt=alt, placeholder="–", **options)


def run_table(columns: Sequence[Column], key: str, alt: str, **options: Any) -> Any:
    """A table whose columns have their definition one hover away."""
    config: dict[str, Any] = {}
    for column in columns:
        known = None if column.definition is None else help_of(column.definition)
        if column.url:
            config[column.title] = st.column_config.LinkColumn(
                " ", display_text="Open", width=60, pinned=True
            )
        elif known is not None:
            config[column.title] = st.column_config.Column(help=known)
    return st.dataframe(
        frame(columns), key=key, hide_index=True, alt=alt, placeholder="–", column_config=config, **options
    )


def badge(status: str) -> str:
    """HTML of a run's status: a mark and a word, never a colour alone."""
    mark, kind = STATUS_MARKS.get(status, "?"), status if status in STATUS_MARKS else "stopped"
    meant = f' title="{for_html(help_of(status))}"' if status in DEFINITIONS else ""
    return f'<span class="js-badge js-{kind}"{meant}>{mark} {for_html(status)}</span>'


def facts(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values of one thing, as text."""
    cells = "".join(f"<dt>{for_html(name)}</dt><dd>{for_html(value)}</dd>" for name, value in rows)
    st.html(f'<dl class="js-facts">{cells}</dl>')


def prose(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of sentences, which wrap; names included."""
    head = "".join(f"<th>{for_html(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{for_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="js-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    st.html(f'<div class="js-wide">{table}</div>')


def matrix(columns: Mapping[str, Sequence[str]], definitions: Mapping[str, str]) -> None:
    """A table of texts which wrap; the first column names the rows, with their definition one hover away."""
    head = "".join(f"<th>{for_html(title)}</th>" for title in columns)
    body = ""
    for name, *cells in zip(*columns.values(), strict=True):
        known = definitions.get(name)
        term = f' class="js-term" title="{for_html(help_of(known))}"' if known else ""
        rest = "".join(f"<td>{for_html(cell)}</td>" for cell in cells)
        body += f"<tr><th><span{term}>{for_html(name)}</span></th>{rest}</tr>"
    table = f'<table class="js-table js-matrix"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    st.html(f'<div class="js-wide">{table}</div>')


def link(label: str, address: str) -> None:
    """A link to another page; the label is fixed words, the address may hold any name."""
    st.html(f'<a class="js-link" href="{for_html(address)}" target="_self">{for_html(label)} →</a>')


def empty(what: str, hints: Sequence[str]) -> None:
    """In place of data: what is not there, and what to do. Fixed words only (Markdown)."""
    st.info(f"**{what}**\n\n" + "\n".join(f"- {hint}" for hint in hints), icon=":material/info:")


def missing(what: str, *asked: str) -> None:
    """What an address asks for and is not there. Fixed words, and the names as text."""
    st.warning(what, icon=":material/search:")
    note(f"Asked for: {', '.join(asked)}")


NO_RUNS = (
    "Start the whole pipeline with its demo: `./joule up`",
    "Measure any command as a run: `./joule track -- python train.py`",
    "Or in Python: `from joulestream import Tracker`, then `with Tracker(run_id=…) as run:`",
)

STYLE = """<style>
.js-note{color:inherit;opacity:.72;font-size:.875rem;margin:0 0 .25rem 0;overflow-wrap:anywhere}
.js-said{font-size:1.05rem;font-weight:600;margin:.2rem 0 .4rem 0;overflow-wrap:anywhere}
.js-link{color:#0072B2;color:light-dark(#0072B2,#56B4E9);text-decoration:none;font-size:.9rem}
.js-running{color:#007A58;color:light-dark(#007A58,#2FC79A)}
.js-stale{color:#945900;color:light-dark(#945900,#E69F00)}
.js-completed{color:#0072B2;color:light-dark(#0072B2,#56B4E9)}
.js-failed{color:#B34500;color:light-dark(#B34500,#FF8A3D)}
.js-stopped{color:#6B6B6B;color:light-dark(#6B6B6B,#A8A8A8)}
.js-badge{border:1px solid;border-radius:1rem;padding:.05rem .6rem;font-size:.85rem;white-space:nowrap;
font-weight:600}
.js-name{font-size:1.9rem;font-weight:650;margin:0 .6rem 0 0;overflow-wrap:anywhere;line-height:1.25}
.js-head{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem;margin:.2rem 0 .2rem 0}
.js-facts{display:grid;grid-template-columns:minmax(7rem,13rem) minmax(0,1fr);gap:.3rem 1rem;margin:0;
padding:0!important;font-size:.9rem}
.js-facts dt{opacity:.65;margin:0;overflow-wrap:anywhere}
.js-facts dd{margin:0;overflow-wrap:anywhere}
.js-table{border-collapse:collapse;font-size:.9rem;width:100%}
.js-table th{text-align:left;font-weight:600;opacity:.65;padding:.35rem 1rem .35rem 0}
.js-table td{vertical-align:top;padding:.35rem 1rem .35rem 0;border-top:1px solid rgba(128,128,128,.2);
overflow-wrap:anywhere;min-width:4.6rem}
.js-wide{overflow-x:auto}
.js-matrix th,.js-matrix td{min-width:7.5rem;overflow-wrap:anywhere}
.js-matrix tbody th{vertical-align:top;border-top:1px solid rgba(128,128,128,.2)}
.js-term{border-bottom:1px dotted;cursor:help}
[data-testid="stMetric"]{min-width:6.6rem;padding:0}
[data-testid="stMetric"]>div{padding:.6rem .8rem}
[data-testid="stMetricValue"]{font-size:1.3rem}
[data-testid="stMainBlockContainer"]{padding:4.2rem 2.2rem 3rem 2.2rem;max-width:1500px}
[data-testid="stMainBlockContainer"] h1{font-size:2rem;padding-bottom:0}
[data-testid="stMainBlockContainer"] h3{font-size:1.2rem;padding-top:.9rem;padding-bottom:.35rem}
[data-testid="stExpander"] summary{padding-top:.35rem;padding-bottom:.35rem;font-size:.875rem}
[data-testid="stButtonGroup"]>[role="toolbar"]{flex-wrap:wrap}
[data-testid="stStatusWidget"]{visibility:hidden}
[data-stale="true"]{transition:opacity 1s ease-in 3s!important}
@media(max-width:1100px){[data-testid="stColumn"]{min-width:22rem}}
@media(max-width:640px){[data-testid="stMainBlockContainer"]{padding:4rem 1rem 2rem 1rem}}
</style>"""
