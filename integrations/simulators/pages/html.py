"""What the simulators' pages share: escaping, the page frame, inlined style and script."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent


@cache
def asset(name: str) -> str:
    """Return a file of this folder (own style or script, inlined so that a page needs nothing else)."""
    return (HERE / name).read_text(encoding="utf-8")


def page(title: str, body: str, style: str) -> str:
    """Return a whole page. `body` is HTML already escaped; pages also work without the script."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{asset(style)}</style></head>'
        f"<body>{body}<script>{asset('live.js')}</script></body></html>"
    )


def clock_time(at: float) -> str:
    """Return `HH:MM:SS` in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def pretty(value: object) -> str:
    """Return JSON (or text holding JSON) indented and escaped."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return escape(str(value))
    return escape(json.dumps(value, indent=2, ensure_ascii=False))


def table(head: Iterable[str], rows: Iterable[Iterable[str]], empty: str) -> str:
    """Return a table of cells that are HTML already, or a line of text if there are no rows."""
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    if not lines:
        return f'<p class="empty">{escape(empty)}</p>'
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def badge(text: str, kind: str = "") -> str:
    return f'<span class="badge {escape(kind)}">{escape(text)}</span>'
