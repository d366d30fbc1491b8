"""JSON that can't be checked, kept or answered with is a 400 on every route, and changes nothing."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from integrations.messaging.models import Message, NotificationRule, RecurringMessage, Suppression
from integrations.models import IdempotencyRecord, Tenant
from integrations.tenancy.parsers import DEEPEST
from tests.factories import make_client, make_config

BASE = "/api/v1/integrations"
SURROGATE = "\\ud800"
RULE = '"name":"x","event_type":"payment.completed","channel":"sms","template_name":"a","is_active":false'
RECURRING = '"name":"x","channel":"sms","frequency":"daily","at":"10:00"'


@pytest.fixture
def admin(tenant: Tenant) -> APIClient:
    make_config(tenant, "africastalking")
    make_config(tenant, "sendgrid")
    return make_client(tenant)


@pytest.mark.parametrize(
    ("path", "body", "attr"),
    [
        ("/sms/send", "[" * 100_000, None),
        ("/sms/send", '{"a":' * 100_000, None),
        ("/email/send", "[" * 100_000, None),
        ("/push/send", "[" * 100_000, None),
        ("/suppressions", "[" * 100_000, None),
        ("/configs", "[" * 100_000, None),
        ("/notification-rules", f'{{{RULE},"conditions":{{"a":{"[" * 300}{"]" * 300}}}}}', None),
        ("/sms/send", f'["{SURROGATE}"]', None),
        ("/sms/send", f'{{"to":"{SURROGATE}","message":"x"}}', "to"),
        ("/sms/send", f'{{"to":"0711000001","message":"x","{SURROGATE}":1}}', "?"),
        ("/whatsapp/send", f'{{"to":"{SURROGATE}","text":"x"}}', "to"),
        ("/email/send", f'{{"to":"{SURROGATE}@x.ke","subject":"x","text":"x"}}', "to"),
        ("/suppressions", f'{{"channel":"{SURROGATE}","address":"0711000001"}}', "channel"),
        ("/notification-rules", f'{{{RULE},"conditions":{{"currency":"{SURROGATE}"}}}}', "conditions"),
        ("/notification-rules", f'{{{RULE},"conditions":{{"{SURROGATE}":"1"}}}}', "conditions"),
        ("/notification-rules", f'{{{RULE},"conditions":{{"a":1e999}}}}', "conditions"),
        ("/notification-rules", f'{{{RULE},"conditions":{{"a":-1e999}}}}', "conditions"),
        ("/notification-rules", f'{{{RULE},"conditions":{{"a":NaN}}}}', None),
        ("/notification-rules", f'{{{RULE},"conditions":{{"a":Infinity}}}}', None),
        ("/notification-rules", f'{{{RULE},"conditions":{{"a":{"9" * 5000}}}}}', None),
        ("/recurring-messages", f'{{{RECURRING},"request":{{"data":{{"a":"{SURROGATE}"}}}}}}', "request"),
        ("/recurring-messages", f'{{{RECURRING},"request":{{"data":{{"a":1e999}}}}}}', "request"),
    ],
)
@pytest.mark.parametrize("key", ["", "k"])
def test_what_no_hub_could_keep_is_refused(admin: APIClient, path: str, body: str, attr: str | None, key: str) -> None:
    headers = {"Idempotency-Key": key} if key else {}
    answer = admin.post(f"{BASE}{path}", body, content_type="application/json", headers=headers)
    assert answer.status_code == 400, answer.content
    (error,) = answer.json()["errors"]
    assert (error["code"], error["attr"]) == ("invalid" if attr else "parse_error", attr)
    for model in (Message, NotificationRule, RecurringMessage, Suppression, IdempotencyRecord):
        assert not model.unscoped.exists()


def test_bodies_of_another_charset_are_looked_at_too(admin: APIClient) -> None:
    body = '{"to":"0711000001","message":"'.encode("utf-16-le") + b"\x00\xd8" + '"}'.encode("utf-16-le")
    for charset in ("utf-16-le", "utf-8", "bz2"):
        answer = admin.post(f"{BASE}/sms/send", body, content_type=f"application/json; charset={charset}")
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, None), charset


def test_what_can_be_kept_comes_through(admin: APIClient) -> None:
    """Pairs of surrogates are letters like others, and honest bodies may have their levels."""
    deep = "[" * (DEEPEST - 2) + "1" + "]" * (DEEPEST - 2)
    body = f'{{"to":"0711000001","message":"\\ud83d\\ude00 ü","data":{{"a":{deep}}}}}'
    answer = admin.post(f"{BASE}/sms/send", body, content_type="application/json", headers={"Idempotency-Key": "k"})
    assert answer.status_code == 202, answer.content
    assert answer.json()["message"] == "😀 ü"
    one_more = admin.post(f"{BASE}/sms/send", body.replace(deep, f"[{deep}]"), content_type="application/json")
    assert (one_more.status_code, "deeper than 100" in one_more.json()["errors"][0]["detail"]) == (400, True)
