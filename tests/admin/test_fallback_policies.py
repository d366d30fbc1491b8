"""A fallback policy with its ways, written in the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from integrations.messaging.models import FallbackPolicy, FallbackStep
from tests.admin.conftest import World, list_url, page_url

pytestmark = pytest.mark.django_db
Browser = Callable[..., Client]
LABEL = "messaging.fallbackpolicy"


def policy_data(*steps: tuple[str, str], **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"name": "Codes", "channel": "sms", "category": "otp", "tries": 1, "is_active": "on", **fields}
    for n, (channel, provider) in enumerate(steps):
        given |= {f"steps-{n}-number": n + 1, f"steps-{n}-channel": channel, f"steps-{n}-provider": provider}
    return given | {"steps-TOTAL_FORMS": len(steps), "steps-INITIAL_FORMS": 0}


def test_an_admin_adds_a_policy_with_its_ways(world: World, browser_of: Browser) -> None:
    admin = browser_of("admin")
    answer = admin.post(list_url(LABEL) + "add/", policy_data(("sms", "twilio"), ("email", "")))
    assert answer.status_code == 302, answer.context["errors"]
    policy = FallbackPolicy.unscoped.get(name="Codes")
    steps = FallbackStep.unscoped.filter(policy=policy).order_by("number")
    assert (policy.tenant, policy.tries) == (world.school, 1)
    assert list(steps.values_list("number", "channel", "provider", "tenant_id")) == [
        (1, "sms", "twilio", world.school.pk),
        (2, "email", "", world.school.pk),
    ]
    assert "1. SMS twilio → 2. E-mail" in admin.get(list_url(LABEL)).content.decode()


@pytest.mark.parametrize("step", [("sms", "nobody"), ("sms", "smtp"), ("fax", "")])
def test_a_way_that_leads_nowhere_is_refused(world: World, browser_of: Browser, step: tuple[str, str]) -> None:
    answer = browser_of("admin").post(list_url(LABEL) + "add/", policy_data(step))
    assert answer.status_code == 200
    assert not FallbackPolicy.unscoped.filter(name="Codes").exists()


def test_an_auditor_reads_and_staff_see_nothing(world: World, browser_of: Browser) -> None:
    page = page_url(world.ours[LABEL])
    auditor = browser_of("auditor")
    assert auditor.get(page).status_code == 200
    assert auditor.post(list_url(LABEL) + "add/", policy_data(("email", ""))).status_code == 403
    assert browser_of("staff").get(page).status_code == 403
