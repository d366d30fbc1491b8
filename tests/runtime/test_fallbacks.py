"""The declared fallbacks are whole, documented, and what the runtime does for capabilities that no route serves yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import CircuitOpen
from integrations.contracts.fallbacks import FALLBACKS, Way, in_words
from integrations.models import Config, QueueItem, QueueState, Tenant
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.runtime.worker import claim_and_run
from tests.factories import MovableClock
from tests.runtime.breaking import SURELY, break_circuit
from tests.runtime.service import Service
from tests.runtime.support import SampleJob, fresh

PLAIN = [each for each in FALLBACKS if each not in {"payment", "sms", "email", "whatsapp", "push"}]


def test_each_capability_names_its_fallback() -> None:
    assert list(FALLBACKS) == list(Capability)
    for capability, fallback in FALLBACKS.items():
        assert fallback.capability is capability
        assert Way.QUEUE in fallback.changing
        assert fallback.asking[-1] is Way.ERROR
        elsewhere = {Way.NEXT_PROVIDER, Way.OTHER_CHANNEL} & {*fallback.changing, *fallback.asking}
        assert bool(fallback.chosen_by) == bool(elsewhere), "who has a choice is told where"


def test_the_page_has_the_table_as_it_is_declared() -> None:
    page = (Path(settings.BASE_DIR) / "docs/resilience.md").read_text("utf-8")
    rows = [
        f"| `{each.capability}` | {in_words(each.changing)} | {in_words(each.asking)} | {each.chosen_by or '-'} |"
        for each in FALLBACKS.values()
    ]
    assert [line for line in page.splitlines() if line.startswith("| `") and line.split("`")[1] in FALLBACKS] == rows


@pytest.mark.django_db
@pytest.mark.parametrize("capability", PLAIN)
def test_what_has_an_effect_is_queued_and_what_only_asks_is_refused(
    capability: Capability,
    tenant: Tenant,
    config: Config,
    provider: Callable[..., Any],
    service: Service,
    job: SampleJob,
    add: Callable[..., QueueItem],
    monkeypatch: pytest.MonkeyPatch,
    clock: MovableClock,
) -> None:
    provider(adapters={capability: "service:SampleAdapter", Capability.CRM: "service:SampleAdapter"})
    monkeypatch.setattr(job, "prepare", lambda item: Call(capability, "act", ("v",), config_id=item.config_id))
    break_circuit(tenant, service)
    item = add()
    assert claim_and_run(item).state == QueueState.PENDING
    with pytest.raises(CircuitOpen) as caught:
        execute(Call(capability, "ask", ("v",)), tenant_id=tenant.pk)
    assert (caught.value.status_code, (caught.value.retry_after or 0) >= 1) == (503, True)
    assert (fresh(item).attempts, "/act" in "".join(service.paths)) == (0, False)
    clock.advance(SURELY)
    assert claim_and_run(item).state == QueueState.COMPLETED
