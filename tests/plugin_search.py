"""Hypothesis looks at the same cases in every run, so that a change is blamed for what it broke and for nothing else.

`HUB_SEARCH=elsewhere make test-full` lets it look at others each time: what it finds then becomes a test of its own.
"""

from __future__ import annotations

import os

from hypothesis import settings

ELSEWHERE = os.environ.get("HUB_SEARCH", "") == "elsewhere"

settings.register_profile("hub", derandomize=not ELSEWHERE, database=None)
settings.load_profile("hub")
