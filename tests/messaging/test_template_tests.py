"""Trying out a template: the very variant goes to one address, on each channel; and the console's page for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.messaging.api.push_serializers import PushMessageSerializer
from integrations.messaging.composing import fill
from integrations.messaging.email.emails import SAMPLE_LINK
from integrations.messaging.models import Message, MessageTemplate, Recipient
from integrations.messaging.push import devices
from integrations.messaging.safety.unsubscribing import unsubscribe_url
from integrations.models import QueueItem, Role, Tenant
from tests.admin.conftest import browser_of, page_url
from tests.admin.test_buttons import press
from tests.factories import MovableClock, make_client, make_config, make_inbound, make_template
from tests.messaging.conftest import Account
from tests.messaging.test_api import person

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
__all__ = ["browser_of"]

NUMBER = "+254711000123"
TOKEN = "cR3x:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
DATA: dict[str, Any] = {"name": "Jane", "fee": {"amount": "KES 1,500"}}
BODY = "Dear {{ name }}, {{ fee.amount }} is due."
FILLED = "Dear Jane, KES 1,500 is due."


@pytest.fixture
def here(tenant: Tenant, clock: MovableClock) -> Iterator[Tenant]:
    """The tenant, whose scope is active."""
    with scope(tenant=tenant):
        yield tenant


@pytest.fixture
def api(here: Tenant) -> APIClient:
    return make_client(here)


def template_of(tenant: Tenant, channel: str = "sms", **fields: Any) -> MessageTemplate:
    return make_template(tenant, **{"channel": channel, "body": BODY, **fields})


def ask(api: APIClient, template: MessageTemplate, *, key: str = "", **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    asked = {"to": NUMBER, "data": DATA, **body}
    return api.post(f"/api/v1/integrations/templates/{template.pk}/test", asked, format="json", headers=headers)


def first(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["attr"]


def nothing_was_accepted() -> bool:
    return (Message.objects.count(), QueueItem.objects.count()) == (0, 0)


# --- by API


def test_this_very_variant_is_sent_though_it_is_off(api: APIClient, here: Tenant) -> None:
    make_config(here, "africastalking")
    template_of(here)
    template = template_of(here, language="sw", body="Habari {{ name }}", is_active=False)
    answer = ask(api, template, to="0711 000123", provider="africastalking")
    assert answer.status_code == 202, answer.json()
    shown = answer.json()
    assert set(shown) == set(PushMessageSerializer().fields)
    assert (shown["message"], shown["category"], shown["also"]) == ("Habari Jane", "", [])
    assert shown["reference"] == {"type": "template", "id": str(template.pk)}
    message = Message.objects.get()
    assert (message.created_by, message.personal, message.template_name) == (shown["created_by"], False, "")
    assert message.created_by
    assert [each.address for each in Recipient.objects.all()] == [NUMBER]
    assert QueueItem.objects.filter(kind="sms.send", reference_id=message.pk).count() == 1


def test_the_same_key_sends_once(api: APIClient, here: Tenant) -> None:
    make_config(here, "africastalking")
    template = template_of(here)
    answers = [ask(api, template, key="try-1") for _ in range(2)]
    assert [each.status_code for each in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert Message.objects.count() == 1
    assert ask(api, template, key="try-1", to="+254711000124").status_code == 422


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"to": ""}, "to"),
        ({"to": "bursar"}, "to"),
        ({"to": [NUMBER]}, "to"),
        ({"data": {"name": "Jane"}}, "data"),
        ({"data": []}, "data"),
        ({"data": {"name": "\0"}}, "data"),
        ({"from": "office@school.example"}, "from"),
        ({"surprise": 1}, "surprise"),
        ({"data": {"name": "x" * 2000, "fee": {"amount": 1}}}, "template"),
    ],
)
def test_what_is_wrong_is_refused_by_field(api: APIClient, here: Tenant, body: dict[str, Any], attr: str) -> None:
    make_config(here, "africastalking")
    assert first(ask(api, template_of(here), **body)) == (400, attr)
    assert nothing_was_accepted()


def test_every_missing_variable_is_named_on_every_channel(api: APIClient, here: Tenant) -> None:
    for provider in ("africastalking", "smtp", "fcm", "whatsapp"):
        make_config(here, provider)
    addresses = {"sms": NUMBER, "whatsapp": NUMBER, "email": "jane@x.ke", "push": TOKEN}
    for channel, to in addresses.items():
        template = template_of(here, channel, subject="" if channel == "sms" else "{{ title }}")
        answer = ask(api, template, to=to, data={})
        assert first(answer) == (400, "data")
        assert all(each in answer.json()["errors"][0]["detail"] for each in template.variables)
    assert nothing_was_accepted()


def test_without_an_account_it_says_so(api: APIClient, here: Tenant) -> None:
    assert ask(api, template_of(here)).status_code == 422
    make_config(here, "africastalking")
    assert ask(api, template_of(here, name="other"), provider="smtp").status_code == 422
    assert nothing_was_accepted()


def test_an_email_has_its_recipients_own_unsubscribe_link(api: APIClient, here: Tenant) -> None:
    make_config(here, "smtp")
    template = template_of(
        here, "email", subject="Fees", body="Stop: {{ unsubscribe_url }}", html='<a href="{{ unsubscribe_url }}">stop</a>'
    )
    answer = ask(api, template, to="Jane <jane@x.ke>", data={}, **{"from": "Bursar <bursar@school.example>"})
    assert answer.status_code == 202, answer.json()
    assert answer.json()["sender"] == "bursar@school.example"
    message = Message.objects.get()
    recipient = Recipient.objects.get()
    words, link = fill(message, recipient), unsubscribe_url(recipient)
    assert (words.body, words.html) == (f"Stop: {link}", f'<a href="{link}">stop</a>')
    assert SAMPLE_LINK not in link


def test_an_email_goes_in_the_accounts_own_name_with_escaped_values(api: APIClient, here: Tenant) -> None:
    make_config(here, "smtp")
    template = template_of(here, "email", subject="For {{ name }}", html="<p>{{ name }}</p>")
    assert ask(api, template, to="jane@x.ke", data={**DATA, "name": "Jane & Co"}).status_code == 202
    message = Message.objects.get()
    assert (message.subject, message.html, bool(message.sender)) == ("For Jane & Co", "<p>Jane &amp; Co</p>", True)
    assert message.body == "Dear Jane & Co, KES 1,500 is due."
    without = template_of(here, "email", name="no-subject")
    assert first(ask(api, without, to="jane@x.ke")) == (400, "template")
    assert first(ask(api, template, to="jane@x.ke", **{"from": "nobody"})) == (400, "from")


def test_a_notification_goes_to_a_users_devices_or_to_a_token(api: APIClient, here: Tenant) -> None:
    make_config(here, "fcm")
    template = template_of(here, "push", subject="Fees", language="sw")
    devices.register(tenant=here, token=TOKEN, platform="android", user="student-7", language="en")
    for to in ("student-7", TOKEN, "another-token:" + "x" * 40):
        answer = ask(api, template, to=to)
        assert answer.status_code == 202, answer.json()
        assert (answer.json()["subject"], answer.json()["message"]) == ("Fees", FILLED)
    sent_to = Recipient.objects.order_by("id").values_list("address", flat=True)
    assert list(sent_to) == [TOKEN, TOKEN, "another-token:" + "x" * 40]
    assert first(ask(api, template, to="student-8")) == (400, "to")
    assert first(ask(api, template, to="no token at all, whatever you think of its length")) == (400, "to")


def test_whatsapp_needs_an_open_window(api: APIClient, here: Tenant) -> None:
    config = make_config(here, "whatsapp")
    template = template_of(here, "whatsapp")
    closed = ask(api, template)
    assert (*first(closed), closed.json()["errors"][0]["code"]) == (409, "template", "outside_window")
    make_inbound(here, channel="whatsapp", provider="whatsapp", config=config, address=NUMBER)
    sent = ask(api, template)
    assert (sent.status_code, sent.json()["message"]) == (202, FILLED)


@pytest.mark.parametrize(("channels", "status"), [((), 403), (("email",), 403), (("sms",), 202)])
def test_it_is_for_those_who_may_send_on_the_channel(school: Account, channels: tuple[str, ...], status: int) -> None:
    template = template_of(school.tenant)
    assert ask(person(school, channels=channels), template).status_code == status
    assert ask(person(school, Role.AUDITOR, ("sms",)), template).status_code == 403
    assert Message.objects.count() == (status == 202)


# --- in the console


@pytest.fixture
def admin(here: Tenant, browser_of: Browser) -> Client:
    return browser_of("admin")


def pressed(client: Client, template: MessageTemplate, button: str, **values: str) -> Any:
    return client.post(page_url(template, "press", "test"), {button: "1", **values})


def test_the_page_has_a_field_for_each_variable_and_shows_what_is_missing(admin: Client, here: Tenant) -> None:
    template = template_of(here)
    link = page_url(template, "press", "test")
    assert f'href="{link}"' in admin.get(page_url(template)).content.decode()
    page = admin.get(link)
    assert list(page.context["form"].fields) == ["data.name", "data.fee.amount", "to"]
    assert page.context["words"].body == BODY
    half = pressed(admin, template, "preview", **{"data.name": "Jane", "to": NUMBER})
    assert half.context["words"].body == "Dear Jane, {{ fee.amount }} is due."
    whole = pressed(admin, template, "preview", **{"data.name": "Jane", "data.fee.amount": "KES 1,500"})
    assert (whole.context["words"].body, whole.context["counted"].count) == (FILLED, 1)
    assert FILLED in whole.content.decode()
    assert nothing_was_accepted()


def test_html_is_shown_in_a_frame_that_can_do_nothing(admin: Client, here: Tenant) -> None:
    template = template_of(
        here,
        "email",
        subject="<b>{{ name }}</b>",
        body="{{ unsubscribe_url }}",
        html="<script>alert(1)</script><p>{{ name }}</p>",
    )
    page = pressed(admin, template, "preview", **{"data.name": "<i>Jane</i>"})
    assert list(page.context["form"].fields) == ["data.name", "from", "to"]
    text = page.content.decode()
    assert '<iframe sandbox=""' in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;p&gt;&amp;lt;i&amp;gt;Jane" in text
    for raw in ("<script>alert(1)", "<i>Jane", "<b>"):
        assert raw not in text


def test_the_test_is_sent(admin: Client, here: Tenant) -> None:
    make_config(here, "africastalking")
    template = template_of(here, is_active=False)
    given = {"send": "1", "to": "0711000123", "data.name": "Jane", "data.fee.amount": "KES 1,500"}
    ((level, told),) = press(admin, template, "test", given)
    message = Message.objects.get()
    assert (level, message.pk in told) == ("success", True)
    assert (message.body, message.created_by) == (FILLED, "user school-admin, trying a template")
    assert [each.address for each in Recipient.objects.all()] == [NUMBER]


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"to": ""}, "to", "Say where"),
        ({"to": "bursar"}, "to", "bursar"),
        ({"to": NUMBER, "data.name": ""}, "__all__", "Missing for the template"),
        ({"to": NUMBER, "data.name": "x" * 2001}, "data.name", "2000"),
    ],
)
def test_what_is_wrong_stands_in_the_form(admin: Client, here: Tenant, given: dict[str, str], field: str, said: str) -> None:
    make_config(here, "africastalking")
    page = pressed(admin, template_of(here), "send", **{"data.name": "Jane", "data.fee.amount": "1", **given})
    assert page.status_code == 200
    assert said in str(page.context["form"].errors[field])
    assert nothing_was_accepted()


def test_variables_that_no_data_fill_together_are_told(admin: Client, here: Tenant) -> None:
    page = admin.get(page_url(template_of(here, body="{{ fee }} {{ fee.amount }}"), "press", "test"))
    assert "Missing for the template" in page.context["problem"]


def test_only_admins_of_the_tenant_have_it(here: Tenant, other_tenant: Tenant, browser_of: Browser) -> None:
    template = template_of(here)
    for role in ("auditor", "staff"):
        client = browser_of(role)
        assert client.get(page_url(template, "press", "test")).status_code in {302, 403}
        assert pressed(client, template, "send", to=NUMBER).status_code in {302, 403}
    with scope(tenant=other_tenant):
        foreign = template_of(other_tenant, name="theirs", body="canary")
    admin = browser_of("admin")
    for answer in (admin.get(page_url(foreign, "press", "test")), pressed(admin, foreign, "send", to=NUMBER)):
        assert (answer.status_code, b"canary" in answer.content) == (302, False)
    assert admin.put(page_url(template, "press", "test")).status_code == 405
    assert nothing_was_accepted()
