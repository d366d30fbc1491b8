"""The scenarios of calls once, tiny: that they run and say what they measured. How fast it was is for `make bench`."""

from __future__ import annotations

import pytest

from integrations import registry
from integrations.messaging.models import Recipient
from integrations.models import Attempt, CallLog, IdempotencyRecord
from payments.models import Payment
from tests.bench.calls import SLUG, calls

pytestmark = pytest.mark.django_db(transaction=True)


def test_calls() -> None:
    found = calls(made=3, texts=4)
    assert [each.name for each in found] == ["call_overhead", "payment_whole", "bulk_sms_1", "bulk_sms_100"]
    for each in found[:2]:
        assert each.figures["overhead_ms"] == each.figures["hub_ms"] - each.figures["bare_ms"]
    assert all(each.ratio > 0 for each in found)
    made = 2 * 3  # as many before, to warm up
    assert set(Payment.unscoped.values_list("status", flat=True)) == {"succeeded"}
    assert Payment.unscoped.count() == Attempt.unscoped.filter(operation="authorize", state="succeeded").count() == made
    assert IdempotencyRecord.unscoped.count() == made
    assert set(Recipient.unscoped.values_list("state", flat=True)) == {"sent"}
    assert Recipient.unscoped.count() == 2 * 3 * 4, "each scenario three times"
    assert set(CallLog.unscoped.values_list("status", "status_code")) == {("success", 200)}
    assert SLUG not in registry.providers()
