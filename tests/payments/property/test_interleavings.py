"""Whatever happens, in whatever order: sums hold, nothing is charged twice, no charge is lost."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.payments.property.machine import Payments

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("model_gateways")]

# No deadline: a step is a request to the whole hub with a real database, and how long that takes is the machine's affair.
DEFAULT = settings(
    max_examples=8,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    phases=(Phase.generate, Phase.shrink),
)
DEEP = settings(DEFAULT, max_examples=300, stateful_step_count=60)


def test_any_interleaving_keeps_the_books_right() -> None:
    run_state_machine_as_test(Payments, settings=DEFAULT)


@pytest.mark.slow
def test_a_deep_search_finds_no_interleaving_that_breaks_the_books() -> None:
    run_state_machine_as_test(Payments, settings=DEEP)
