"""Ten thousand generated requests to each own path of a provider's account.

No 5xx, no exception, nothing changed but the books, bounded memory. `make test` sends 100 to each, `make test-full` all.
"""

from __future__ import annotations

import pytest

from tests.webhooks.fuzz.attack import GROWTH, Route, account_paths, each_of
from tests.webhooks.fuzz.conftest import Fire

# Each batch is really rolled back: in one long transaction the counters' row versions pile up, and every look-up slows down.
pytestmark = pytest.mark.django_db(transaction=True)


def test_a_sample_of_hostile_requests(fire: Fire) -> None:
    for route in account_paths():
        assert fire(route, 100).sent >= 100


@pytest.mark.slow
@each_of(account_paths())
def test_ten_thousand_hostile_requests(route: Route, fire: Fire) -> None:
    made = fire(route, 10_000)
    assert made.growth() < GROWTH, f"grew by {made.growth() >> 20} MB over {made.sent} requests"
