"""The runtime makes the call: over HTTP/2, with one provider token and one connection for all calls of a config."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations import registry
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, Undecided
from integrations.contracts.messaging import MessageState
from integrations.contracts.push import PushNotification
from integrations.http import http2
from integrations.models import CallLog, OAuthToken
from integrations.providers.apns.simulator import ApnsSimulator
from integrations.providers.apns.tests.conftest import notification
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.simulators import running_simulators
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def simulator(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[running_simulators]:
    monkeypatch.setenv("SIMULATOR_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(http2, "_pool", http2._Pool())
    with running_simulators([ApnsSimulator], state_dir=tmp_path) as running:
        settings.SIMULATOR_URL = running.url
        registry.sync_rows()
        yield running
        assert running.violations == []
    http2._pool.close()


def send(tenant_id: int, config_id: int, given: PushNotification, marked: list[str]) -> Any:
    call = Call(Capability.PUSH, "send", (given,), config_id=config_id, reference=("test", "1"))
    return execute(call, tenant_id=tenant_id, before_effect=lambda: marked.append(given.message_id))


def test_calls_share_token_and_connection_and_leave_their_record(simulator: running_simulators) -> None:
    tenant = factories.make_tenant("springfield-school")
    config = factories.make_config(tenant, "apns")
    marked: list[str] = []
    for number in range(3):
        result = send(tenant.pk, config.pk, notification(ref=f"r_{number}"), marked)
        assert result.state is MessageState.SENT
    found = [each.data for each in simulator.store.find("apns", "message")]
    assert len(found) == 3
    assert len({each["connection"] for each in found}) == 1
    assert marked == ["msg_1"] * 3
    assert OAuthToken.unscoped.filter(config=config).count() == 1
    logged = list(CallLog.unscoped.filter(config_id=config.pk).order_by("pk"))
    assert [(row.operation, row.method, row.status_code) for row in logged] == [("send", "POST", 200)] * 3
    headers = {name.lower(): value for name, value in logged[0].request_headers.items()}
    assert (headers["authorization"], headers["apns-topic"]) == ("••••", "com.example.school")


def test_a_changed_key_takes_neither_token_nor_connection_over(simulator: running_simulators) -> None:
    tenant = factories.make_tenant("springfield-school")
    config = factories.make_config(tenant, "apns")
    marked: list[str] = []
    send(tenant.pk, config.pk, notification(), marked)
    factories.services.update_config(config=config, values=factories.demo_values("apns", "studio"))
    send(tenant.pk, config.pk, notification(), marked)
    found = [each.data for each in simulator.store.find("apns", "message")]
    assert [each["account"] for each in found] == ["studio", "school"]
    assert found[0]["connection"] != found[1]["connection"]


@pytest.mark.parametrize(("key", "kind"), [("", OutcomeUnknown), ("msg_1", Undecided)])
def test_a_lost_answer_is_recorded_as_one(simulator: running_simulators, key: str, kind: type[Exception]) -> None:
    tenant = factories.make_tenant("springfield-school")
    config = factories.make_config(tenant, "apns")
    simulator.simulator("apns").faults.add("apns", {"operation": "send", "fault": "drop_after_accept"}, ["drop_after_accept"])
    marked: list[str] = []
    with pytest.raises(OutcomeUnknown) as caught:
        send(tenant.pk, config.pk, notification(collapse_key=key), marked)
    assert type(caught.value) is kind
    assert marked == ["msg_1"]
    assert len(simulator.store.find("apns", "message")) == 1
