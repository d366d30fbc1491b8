"""pytest plugin: the garbage collector does not look through what collecting the tests has loaded.

With all tests in memory a full collection takes half a second, and deliveries begin each shift with one. What is there when the
tests begin stays to the end anyway.
"""

from __future__ import annotations

import gc

COLLECT_EVERY = (10_000, 10, 10)
"""Thresholds of the collector from then on: what tests leave behind in cycles is found early enough."""


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)
