"""What the hub's processes complained about, from their logs: what nobody expected stands out by its traceback."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

TAIL = 6
_VARYING = re.compile(r"0x[0-9a-f]+|\d{4,}")
"""Addresses, process ids, ports: what makes the same complaint look like another."""


def complaints(folder: Path) -> dict[str, Any]:
    """Return how often each warning and error was logged, and the newest traceback of each kind of exception."""
    counts: Counter[str] = Counter()
    traces: dict[str, str] = {}
    for path in sorted(folder.glob("*.log*")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if not isinstance(entry, dict) or entry.get("level") not in ("warning", "error", "critical"):
                continue
            trace = str(entry.get("exception") or "")
            error = trace.strip().splitlines()[-1][:120] if trace.strip() else str(entry.get("error", ""))[:80]
            what = f"{path.stem} {entry['level']} {str(entry.get('event', ''))[:100]} {error}".strip()
            what = _VARYING.sub("…", what)
            counts[what] += 1
            if trace:
                traces[what] = "\n".join(trace.strip().splitlines()[-TAIL:])
    return {"counts": dict(counts.most_common(60)), "tracebacks": traces}
