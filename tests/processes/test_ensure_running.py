"""Shifts are started where they are missing, and only there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from integrations.runtime import shifts

pytestmark = pytest.mark.django_db


def test_a_shift_that_waits_to_be_taken_is_not_started_twice() -> None:
    first = shifts.ensure_running()
    assert set(first) == {"delivery", "queue"}
    for _ in range(3):
        shifts.ensure_running()
    waiting = [row.task["args"][0] for row in OrmQ.objects.all()]
    assert sorted(waiting) == sorted([*["queue"] * shifts.wanted("queue"), *["delivery"] * shifts.wanted("delivery")])


def test_a_task_taken_by_a_worker_that_never_beat_counts_for_nothing() -> None:
    while shifts.ensure_running():
        pass
    OrmQ.objects.update(lock=timezone.now() + timedelta(seconds=180))
    assert set(shifts.ensure_running()) == {"delivery", "queue"}


def test_a_task_that_can_not_be_read_does_not_stop_the_others() -> None:
    OrmQ.objects.create(key="hub", payload="not a signed package", lock=timezone.now())
    assert set(shifts.ensure_running()) == {"delivery", "queue"}
