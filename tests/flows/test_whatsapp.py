"""WhatsApp and incoming messages over real sockets: templates outside of the window, free text within it, files, stop and
start, answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from django_scopes import scope

from integrations.messaging.models import Suppression
from integrations.models import Config
from tests.factories import MovableClock, demo_values, make_config
from tests.flows.conftest import School
from webhooks.inbound.models import Receipt
from webhooks.inbound.services import reprocess

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
BASE = "/api/v1/integrations"
JANE = "+254711000001"
PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
FEES = {"name": "fees_due", "language": "en", "body": ["Jane", "KES 500", "Friday"]}


@pytest.fixture
def meta(school: School, settings: Any) -> School:
    """The school with a WhatsApp number whose webhooks reach the hub; customers read what they get."""
    config = make_config(school.tenant, "whatsapp", account="school")
    url = f"{settings.PUBLIC_BASE_URL}/hooks/{config.hook_token}/events"
    school.control("PUT", "whatsapp/accounts/school", json={"webhook_url": url})
    school.control("PUT", "whatsapp/settings", json={"reads": True, "status_delay": 0.05})
    return school


@pytest.fixture
def twilio(school: School, settings: Any) -> School:
    """The school with texts by Twilio, whose number's incoming messages reach the hub."""
    config = make_config(school.tenant, "twilio", account="school")
    answer = school.api.post(f"{BASE}/configs/{config.pk}/primary", {"category": "sms"}, format="json")
    assert answer.status_code == 200, answer.json()
    url = f"{settings.PUBLIC_BASE_URL}/hooks/{config.hook_token}/inbound"
    school.control("PUT", "twilio/accounts/school", json={"webhook_url": url})
    return school


def send(school: School, status: int = 202, **body: Any) -> dict[str, Any]:
    answer = school.api.post(f"{BASE}/whatsapp/send", {"to": JANE, **body}, format="json")
    assert answer.status_code == status, answer.json()
    found: dict[str, Any] = answer.json()
    return found


def reached(school: School, message_id: str, status: str) -> Callable[[], dict[str, Any] | None]:
    """Return a check for `until`: the message's only recipient, once in this state."""

    def look() -> dict[str, Any] | None:
        (found,) = school.api.get(f"{BASE}/messages/{message_id}").json()["recipients"]
        return found if found["status"] == status else None

    return look


def written(school: School, count: int = 1) -> Callable[[], list[dict[str, Any]]]:
    """Return a check for `until`: the inbound messages, newest first, once there are so many."""

    def look() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = school.api.get(f"{BASE}/inbound-messages").json()["results"]
        return found if len(found) >= count else []

    return look


def writes(school: School, text: str, **more: Any) -> str:
    body = {"account": "school", "from": JANE, "text": text, "name": "Jane", **more}
    return str(school.control("POST", "whatsapp/inbound", json=body)["id"])


def at_meta(school: School) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = school.control("GET", "whatsapp/messages")["messages"]
    return found


def told(school: School, event_type: str) -> list[dict[str, Any]]:
    """Return the objects of what the school's own system was told."""
    return [each["body"]["data"]["object"] for each in school.sink() if each["body"]["type"] == event_type]


def test_a_template_is_sent_delivered_and_read(meta: School, until: Until) -> None:
    message = send(meta, template=FEES)
    found = until(reached(meta, message["id"], "read"))
    assert {event["status"] for event in found["events"]} >= {"queued", "sent", "delivered", "read"}
    (row,) = at_meta(meta)
    assert (row["id"], row["text"]) == (found["provider_ref"], "Dear Jane, KES 500 in fees are due on Friday.")
    until(lambda: told(meta, "message.read"))


def test_free_text_after_the_customer_wrote(meta: School, until: Until) -> None:
    refused = send(meta, 409, text="See you on Friday.")
    assert refused["errors"][0]["code"] == "outside_window"
    wamid = writes(meta, "When is the meeting?")
    (row,) = until(written(meta))
    assert (row["from"], row["to"], row["name"], row["text"]) == (JANE, "+254700000042", "Jane", "When is the meeting?")
    assert (row["provider_ref"], row["trusted"], row["opted"]) == (wamid, True, None)
    (event,) = until(lambda: told(meta, "message.received"))
    assert event == row

    answer = meta.api.post(f"{BASE}/inbound-messages/{row['id']}/reply", {"text": "On Friday."}, format="json")
    assert answer.status_code == 202, answer.json()
    until(reached(meta, answer.json()["id"], "read"))
    assert [(each["text"], each["reply_to"]) for each in at_meta(meta)] == [("On Friday.", wamid)]


def test_the_providers_own_refusal_of_a_closed_window(meta: School, until: Until) -> None:
    """Its clock and ours may differ; then it is the one who knows."""
    writes(meta, "Hello", **{"from": "+254711000047"})
    until(written(meta))
    message = send(meta, to="+254711000047", text="Hello")
    found = until(reached(meta, message["id"], "failed"))
    assert found["provider_status"] == "131047"


def test_files_in_both_directions(meta: School, until: Until) -> None:
    media = {"kind": "image", "content_type": "image/png", "content": base64.b64encode(PNG).decode()}
    writes(meta, "The slip", media=media)
    (row,) = until(written(meta))
    assert (row["text"], row["media"]) == ("The slip", [{"index": 0, "type": "image/png"}])
    file = meta.api.get(f"{BASE}/inbound-messages/{row['id']}/media/0")
    assert (file.status_code, file.content, file["Content-Type"]) == (200, PNG, "image/png")
    assert file["Content-Disposition"].startswith("attachment;")

    back = {"url": "https://files.example/report.pdf", "content_type": "application/pdf", "caption": "The report"}
    message = send(meta, media=back)
    until(reached(meta, message["id"], "read"))
    assert at_meta(meta)[-1]["text"] == "[document report.pdf] The report"


def test_a_template_that_the_provider_does_not_have(meta: School, until: Until) -> None:
    message = send(meta, template={"name": "unheard_of", "language": "en"})
    found = until(reached(meta, message["id"], "failed"))
    assert found["provider_status"] == "132001"


def test_the_accounts_templates(meta: School) -> None:
    answer = meta.api.get(f"{BASE}/whatsapp/templates")
    assert answer.status_code == 200, answer.json()
    found = {(each["name"], each["language"]): each for each in answer.json()["templates"]}
    fees = found["fees_due", "en"]
    assert (answer.json()["provider"], fees["status"], fees["parameters"]) == ("whatsapp", "approved", 3)
    make_config(meta.tenant, "twilio", account="school")
    refused = meta.api.get(f"{BASE}/whatsapp/templates?provider=twilio")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "unsupported_operation")


def test_a_webhook_again_is_one_message(meta: School, until: Until, settings: Any) -> None:
    writes(meta, "STOP")
    until(written(meta))
    receipt = Receipt.unscoped.get(tenant=meta.tenant)
    Suppression.unscoped.all().delete()
    reprocess(receipt=receipt)
    # The same message once more, in a batch with another one: a webhook that the hub has not seen yet.
    body = json.loads(bytes(receipt.body))
    messages = body["entry"][0]["changes"][0]["value"]["messages"]
    messages.append({**messages[0], "id": "wamid.2", "text": {"body": "Sorry"}})
    raw = json.dumps(body).encode()
    signature = hmac.new(demo_values("whatsapp", "school")["app_secret"].encode(), raw, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
    url = f"{settings.PUBLIC_BASE_URL}/hooks/{Config.unscoped.get(provider_id='whatsapp').hook_token}/events"
    assert requests.post(url, data=raw, headers=headers, timeout=10).status_code == 200
    until(written(meta, 2))
    assert sorted(each["text"] for each in written(meta)()) == ["STOP", "Sorry"]
    assert not Suppression.unscoped.exists(), "a word that was obeyed once is not obeyed again"
    forged = requests.post(url, data=raw, headers={**headers, "X-Hub-Signature-256": "sha256=00"}, timeout=10)
    assert forged.status_code == 401


# --- texts


def text(school: School, **more: Any) -> dict[str, Any]:
    answer = school.api.post(f"{BASE}/sms/send", {"to": JANE, "message": "School is closed.", **more}, format="json")
    assert answer.status_code == 202, answer.json()
    found: dict[str, Any] = answer.json()
    return found


def test_stop_and_start_by_text(twilio: School, until: Until, clock: MovableClock) -> None:
    clock.moment = datetime.now(UTC)
    waiting = text(twilio, send_at=(clock() + timedelta(hours=1)).isoformat())
    twilio.control("POST", "twilio/incoming", json={"from": JANE, "text": "STOP"})
    (row,) = until(written(twilio))
    assert (row["channel"], row["provider"], row["opted"], row["to"]) == ("sms", "twilio", "out", own_number("twilio"))
    with scope(tenant=twilio.tenant):
        assert Suppression.objects.get(released_at=None).reason == "opt_out"
    assert text(twilio)["recipients"][0]["provider_status"] == "suppressed"
    clock.advance(hours=1, seconds=1)
    stopped = until(reached(twilio, waiting["id"], "failed"))
    assert stopped["provider_status"] == "suppressed", "what waited for its time is caught too"

    twilio.control("POST", "twilio/incoming", json={"from": JANE, "text": "START"})
    assert until(written(twilio, 2))[0]["opted"] == "in"
    assert until(reached(twilio, text(twilio)["id"], "delivered"))
    assert len(twilio.control("GET", "twilio/messages")["messages"]) == 1


def test_an_answer_by_text_comes_from_the_number_that_was_written_to(twilio: School, until: Until, clock: MovableClock) -> None:
    twilio.control("POST", "twilio/incoming", json={"from": JANE, "text": "Is there school tomorrow?"})
    (row,) = until(written(twilio))
    answer = twilio.api.post(f"{BASE}/inbound-messages/{row['id']}/reply", {"text": "Yes."}, format="json")
    assert answer.status_code == 202, answer.json()
    until(reached(twilio, answer.json()["id"], "delivered"))
    (sent,) = twilio.control("GET", "twilio/messages")["messages"]
    assert (sent["from"], sent["to"], sent["text"]) == (row["to"], JANE, "Yes.")


def own_number(slug: str) -> str:
    return str(demo_values(slug, "school")["sender"])


def test_whatsapp_by_twilio_has_its_own_windows(twilio: School, until: Until) -> None:
    send(twilio, 409, text="Hello")
    twilio.control("POST", "twilio/incoming", json={"from": JANE, "text": "Hi", "channel": "whatsapp", "name": "Jane"})
    (row,) = until(written(twilio))
    assert (row["channel"], row["from"], row["name"]) == ("whatsapp", JANE, "Jane")
    message = send(twilio, text="Hello")
    assert message["provider"] == "twilio"
    until(reached(twilio, message["id"], "delivered"))
