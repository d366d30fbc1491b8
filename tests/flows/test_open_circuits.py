"""With a provider's circuit open the declared fallback really happens, through the public API and over real sockets: what
`FALLBACKS` says of each capability that the API serves is done here, way by way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts.errors import ProviderUnavailable
from integrations.contracts.fallbacks import FALLBACKS, Way
from integrations.models import BreakerState, CallLog, Config
from integrations.registry import config_view
from integrations.runtime import breaker
from payments.models import RoutingRule, RoutingStep
from tests.factories import MovableClock, make_config, make_fallback_policy, work_off
from tests.flows.conftest import School
from tests.runtime.breaking import SURELY

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
BASE = "/api/v1/integrations"
JANE = "+254711000001"
PARENT = "jane@example.org"
PHONE = "+254712345678"
DEVICE = "cR3x:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
LETTER = {"from": "office@school.example", "to": [PARENT], "subject": "Fees", "text": "Fees are due."}

SENDINGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sms": ("africastalking", "sms/send", {"to": JANE, "message": "School is closed tomorrow."}),
    "email": ("smtp", "email/send", LETTER),
    "whatsapp": ("whatsapp", "whatsapp/send", {"to": JANE, "text": "See you on Friday."}),
    "push": ("fcm", "push/send", {"to": DEVICE, "title": "Fees", "body": "Term 1 is due"}),
}
"""By channel: the provider whose circuit is open, the route, the body."""
NEXT = {"sms": "twilio", "email": "sendgrid", "whatsapp": "twilio"}
OTHER = {"sms": "email", "email": "sms", "whatsapp": "sms"}
ADDRESSES = {"email": PARENT, "sms": JANE}


def break_open(config: Config) -> None:
    view = config_view(config)
    for _ in range(breaker.MINIMUM_FAILURES):
        breaker.check(view).record(ProviderUnavailable("answered 503"))
    assert circuit_of(config).state == "open"


def circuit_of(config: Config) -> BreakerState:
    return BreakerState.objects.get(key=breaker.key_of(config_view(config))[0])


def asked(config: Config) -> int:
    """Return how many requests were made with this account."""
    return CallLog.unscoped.filter(config=config, direction="outbound").count()


def tried(way: Way) -> list[str]:
    """Return the channels that declare this way for what has an effect."""
    return [name for name in SENDINGS if way in {each.value: FALLBACKS[each] for each in FALLBACKS}[name].changing]


# --- payments


def ask_for_page(school: School) -> Any:
    body = {
        "amount": 150_000,
        "currency": "KES",
        "method": {"type": "redirect"},
        "customer": {"name": "Jane Wanjiku", "email": "jane@example.com"},
        "return_url": "https://school.example/thanks",
    }
    return school.api.post("/api/v1/payments/authorize", body, format="json").json()


def test_a_payment_goes_to_the_next_gateway(school: School) -> None:
    first = make_config(school.tenant, "pesapal", account="school")
    second = make_config(school.tenant, "flutterwave", account="school")
    with scope(tenant=school.tenant):
        rule = RoutingRule.objects.create(tenant=school.tenant, name="pages", method_type="redirect", currency="KES")
        for position, config in enumerate((first, second)):
            RoutingStep.objects.create(tenant=school.tenant, rule=rule, config=config, position=position)
    break_open(first)
    found = ask_for_page(school)
    assert (found["status"], found["provider"]) == ("requires_action", "flutterwave")
    assert (asked(first), asked(second) > 0) == (0, True)


def test_a_payment_without_another_gateway_is_queued_until_it_is_back(school: School, clock: MovableClock) -> None:
    clock.moment = datetime.now(UTC)
    break_open(school.mpesa)
    answer = school.ask(PHONE)
    assert (answer.status_code, answer.json()["status"]) == (201, "processing"), answer.json()
    work_off()
    assert school.prompts(PHONE.lstrip("+")) == []
    clock.advance(SURELY)
    work_off()
    assert len(school.prompts(PHONE.lstrip("+"))) == 1
    assert circuit_of(school.mpesa).state == "closed"


def test_a_payment_that_can_not_wait_so_long_has_failed(school: School) -> None:
    break_open(school.mpesa)
    breaker.hold(key=circuit_of(school.mpesa).key, state="open", until=None)
    found = school.ask(PHONE).json()
    assert (found["status"], found["failure"]["code"], asked(school.mpesa)) == ("failed", "circuit_open", 0)


def test_a_question_about_a_payment_says_when_to_ask_again(school: School) -> None:
    payment = school.ask(PHONE).json()
    before = asked(school.mpesa)
    break_open(school.mpesa)
    school.api.raise_request_exception = False
    answer = school.api.post(f"/api/v1/payments/{payment['id']}/sync")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "circuit_open")
    assert 1 <= int(answer["Retry-After"]) <= SURELY
    assert asked(school.mpesa) == before


# --- messages


@pytest.fixture
def accounts(school: School, until: Until, settings: Any) -> dict[str, Config]:
    """Accounts of all channels by provider; Jane has just written, so that she may be answered by WhatsApp."""
    found = {slug: make_config(school.tenant, slug, account="school") for slug in ("smtp", "sendgrid", "whatsapp", "fcm")}
    found |= {"africastalking": school.sms, "twilio": make_config(school.tenant, "twilio", account="school")}
    for category, slug in (("sms", "africastalking"), ("email", "smtp"), ("whatsapp", "whatsapp")):
        answer = school.api.post(f"{BASE}/configs/{found[slug].pk}/primary", {"category": category}, format="json")
        assert answer.status_code == 200, answer.json()
    for slug, path in (("whatsapp", "events"), ("twilio", "inbound")):
        url = f"{settings.PUBLIC_BASE_URL}/hooks/{found[slug].hook_token}/{path}"
        school.control("PUT", f"{slug}/accounts/school", json={"webhook_url": url})
    school.control("POST", "whatsapp/inbound", json={"account": "school", "from": JANE, "text": "Hi", "name": "Jane"})
    school.control("POST", "twilio/incoming", json={"from": JANE, "text": "Hi", "channel": "whatsapp", "name": "Jane"})
    until(lambda: len(school.api.get(f"{BASE}/inbound-messages").json()["results"]) == 2)
    registered = {"token": DEVICE, "platform": "android"}
    assert school.api.post(f"{BASE}/push/devices", registered, format="json").status_code == 201
    return found


def send(school: School, channel: str, **more: Any) -> str:
    _slug, path, body = SENDINGS[channel]
    answer = school.api.post(f"{BASE}/{path}", {**body, **more}, format="json")
    assert answer.status_code == 202, answer.json()
    return str(answer.json()["id"])


def shown(school: School, message_id: str) -> tuple[str, str]:
    """Return (provider, state of its one recipient)."""
    found = school.api.get(f"{BASE}/messages/{message_id}").json()
    return found["provider"], found["recipients"][0]["status"]


def following(school: School, message_id: str) -> dict[str, Any]:
    """Return the message that goes out in place of this one."""
    rows = school.api.get(f"{BASE}/messages?limit=50").json()["results"]
    (found,) = [each for each in rows if each["continues"] == message_id]
    return dict(found)


@pytest.mark.parametrize("channel", tried(Way.QUEUE))
def test_a_message_is_queued_and_sent_when_the_provider_is_back(
    school: School, accounts: dict[str, Config], channel: str, clock: MovableClock
) -> None:
    clock.moment = datetime.now(UTC)
    slug = SENDINGS[channel][0]
    before = asked(accounts[slug])
    break_open(accounts[slug])
    message_id = send(school, channel)
    work_off()
    assert shown(school, message_id) == (slug, "queued")
    assert asked(accounts[slug]) == before
    clock.advance(SURELY)
    work_off()
    provider, state = shown(school, message_id)
    assert (provider, state in {"sent", "delivered", "read"}) == (slug, True), state


@pytest.mark.parametrize("channel", tried(Way.NEXT_PROVIDER))
def test_a_message_goes_to_the_next_provider_at_once_where_a_policy_says_so(
    school: School, accounts: dict[str, Config], channel: str
) -> None:
    slug = SENDINGS[channel][0]
    before = asked(accounts[slug])
    make_fallback_policy(school.tenant, f"{channel}:{NEXT[channel]}", channel=channel)
    break_open(accounts[slug])
    message_id = send(school, channel)
    work_off()
    assert shown(school, message_id) == (slug, "failed")
    second = following(school, message_id)
    assert (second["channel"], second["provider"]) == (channel, NEXT[channel])
    assert shown(school, second["id"])[1] in {"sent", "delivered", "read"}
    assert asked(accounts[slug]) == before


@pytest.mark.parametrize("channel", tried(Way.OTHER_CHANNEL))
def test_a_message_goes_on_by_another_channel_at_once_where_a_policy_says_so(
    school: School, accounts: dict[str, Config], channel: str
) -> None:
    slug, other = SENDINGS[channel][0], OTHER[channel]
    before = asked(accounts[slug])
    make_fallback_policy(school.tenant, other, channel=channel)
    break_open(accounts[slug])
    message_id = send(school, channel, fallback={other: ADDRESSES[other]})
    work_off()
    assert shown(school, message_id) == (slug, "failed")
    second = following(school, message_id)
    assert second["channel"] == other
    assert shown(school, second["id"])[1] in {"sent", "delivered"}
    assert asked(accounts[slug]) == before


def test_each_channel_declares_what_is_tried_here() -> None:
    assert set(tried(Way.QUEUE)) == set(SENDINGS)
    assert tried(Way.NEXT_PROVIDER) == list(NEXT)
    assert tried(Way.OTHER_CHANNEL) == list(OTHER)
    assert {each.asking for each in FALLBACKS.values()} == {(Way.ERROR,)}


def test_a_question_about_templates_says_when_to_ask_again(school: School, accounts: dict[str, Config]) -> None:
    break_open(accounts["whatsapp"])
    school.api.raise_request_exception = False
    answer = school.api.get(f"{BASE}/whatsapp/templates")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "circuit_open")
    assert 1 <= int(answer["Retry-After"]) <= SURELY


@pytest.mark.parametrize("slug", ["africastalking", "twilio", "smtp", "sendgrid", "whatsapp", "fcm"])
def test_a_connection_test_says_that_nothing_was_asked(school: School, accounts: dict[str, Config], slug: str) -> None:
    config = accounts[slug]
    before = asked(config)
    break_open(config)
    answer = school.api.post(f"{BASE}/configs/{config.pk}/test")
    assert (answer.status_code, answer.json()["ok"], answer.json()["status"]) == (200, False, "circuit_open"), answer.json()
    config.refresh_from_db()
    assert (config.status, asked(config)) == ("untested", before)
