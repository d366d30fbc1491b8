"""The circuit breaker, shared by all processes: closed, open, half-open by the rate of failures in a window that fades.

`check` before a call, `Passage.record` after it; `hold`, `let_go` and `reset` are for people. See docs/resilience.md.
"""

from __future__ import annotations

from integrations.runtime.breaker.accounts import UNUSED, forget, left_over, with_account
from integrations.runtime.breaker.circuit import (
    FAILURE_RATE,
    FIRST_WAIT,
    LONGEST_WAIT,
    MINIMUM_FAILURES,
    PROBE_SPAN,
    SPREAD,
    WINDOW,
    held,
    shown,
)
from integrations.runtime.breaker.memory import FRESH, MEMORY
from integrations.runtime.breaker.operating import concerned, hold, let_go, reset
from integrations.runtime.breaker.passing import Passage, check, key_of
from integrations.runtime.breaker.standing import by_provider, counted

__all__ = [
    "FAILURE_RATE",
    "FIRST_WAIT",
    "FRESH",
    "LONGEST_WAIT",
    "MEMORY",
    "MINIMUM_FAILURES",
    "PROBE_SPAN",
    "SPREAD",
    "UNUSED",
    "WINDOW",
    "Passage",
    "by_provider",
    "check",
    "concerned",
    "counted",
    "forget",
    "held",
    "hold",
    "key_of",
    "left_over",
    "let_go",
    "reset",
    "shown",
    "with_account",
]
