"""A secret of a config is nowhere but in its sealed column: no table, no API answer, no log line, no error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from integrations.models import Config, Tenant
from integrations.secrets import open_sealed
from integrations.simulators import running_simulators
from tests.factories import make_config, make_message, work_off

CANARY = "canary-7c1e5a90b4d2f863"
BASE = "/api/v1/integrations"


def columns() -> Iterator[tuple[str, str]]:
    """Yield (table, column) of everything in the database that can hold text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type IN ('text', 'character varying', 'json', 'jsonb', 'bytea', 'ARRAY')"
        )
        yield from cursor.fetchall()


def places_of(text: str) -> list[str]:
    found = []
    for table, column in columns():
        with connection.cursor() as cursor:
            cursor.execute(
                f'SELECT count(*) FROM "{table}" WHERE "{column}"::text LIKE %s OR "{column}"::text LIKE %s',
                [f"%{text}%", f"%{text.encode().hex()}%"],
            )
            if cursor.fetchone()[0]:
                found.append(f"{table}.{column}")
    return found


@pytest.mark.django_db(transaction=True)
def test_a_secret_is_in_no_table_answer_or_log(
    admin_api: APIClient, tenant: Tenant, simulators: running_simulators, capfd: Any, caplog: Any
) -> None:
    answers = []

    def call(method: str, path: str, body: Any = None) -> Any:
        answer = getattr(admin_api, method)(path, body)
        answers.append(answer.content.decode())
        return answer

    values = {"username": "demoschool", "api_key": CANARY}
    given = {"provider": "africastalking", "environment": "simulator", "values": values}
    created = call("post", f"{BASE}/configs", given)
    assert created.status_code == 201
    number = created.json()["id"]
    call("post", f"{BASE}/configs", {**given, "values": {**values, "username": "has space"}})
    call("post", "/api/integrations", {"provider": "africastalking", "type": "sms", "api_key": CANARY, "status": "inactive"})
    call("patch", f"{BASE}/configs/{number}", {"values": {"batch_size": 5}})
    # The simulator does not know this key, so each call is refused, with the provider's own words in the answer.
    assert call("post", f"{BASE}/configs/{number}/test").json()["ok"] is False
    make_message(tenant)
    make_config(tenant, "mpesa", {"consumer_key": CANARY, "passkey": CANARY})
    call("post", f"{BASE}/configs/{Config.unscoped.latest('pk').pk}/test")
    work_off()
    for path in ("configs", f"configs/{number}", "logs", "queue", "providers", "setup/africastalking"):
        call("get", f"{BASE}/{path}")
    call("get", "/api/integrations")
    for row in admin_api.get(f"{BASE}/logs").json()["results"]:
        call("get", f"{BASE}/logs/{row['id']}")

    assert places_of(CANARY) == []
    assert [answer for answer in answers if CANARY in answer] == []
    written = "".join(capfd.readouterr()) + caplog.text
    assert CANARY not in written
    assert "provider_call" in written


@pytest.mark.django_db(transaction=True)
def test_the_search_would_find_it(tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking", {"api_key": CANARY})
    assert open_sealed(tenant.pk, config.sealed) == {"api_key": CANARY}
    Config.unscoped.filter(pk=config.pk).update(status_detail=f"refused {CANARY}", values={"note": CANARY})
    assert sorted(places_of(CANARY)) == ["integrations_config.status_detail", "integrations_config.values"]
