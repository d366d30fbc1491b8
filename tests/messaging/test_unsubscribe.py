"""The unsubscribe page: looking changes nothing, a press does, and so does a mail program's one click."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import signing
from django.test import Client
from django_scopes import scopes_disabled

from integrations.messaging.models import Message, MessageCategory, MessageEvent, Preference, Recipient, Suppression
from integrations.messaging.pages.standing import masked
from integrations.messaging.safety.screening import prefer, suppress
from integrations.messaging.safety.unsubscribing import SALT, list_headers, recipient_of, unsubscribe_url
from integrations.models import Role, Tenant
from integrations_site.private_paths import shown
from tests.factories import make_tenant, make_user

pytestmark = pytest.mark.django_db
JANE = "Jane.Wanjiku@example.com"


@pytest.fixture
def client() -> Client:
    return Client(enforce_csrf_checks=True)


def letter(tenant: Tenant, category: str = "news", channel: str = "email", address: str = JANE) -> Recipient:
    message = Message.unscoped.create(
        tenant=tenant, channel=channel, provider="smtp", subject="Secret subject", body="Secret body", category=category
    )
    return Recipient.unscoped.create(tenant=tenant, message=message, address=address, name="Jane Wanjiku", state="sent")


def path(recipient: Recipient) -> str:
    return urlsplit(unsubscribe_url(recipient)).path


def said() -> dict[str, bool]:
    with scopes_disabled():
        return {row.category: row.allowed for row in Preference.objects.all()}


def held() -> list[tuple[str, str]]:
    rows = Suppression.unscoped.filter(released_at__isnull=True)
    return [(row.address, row.reason) for row in rows]


@pytest.mark.parametrize("method", ["get", "head"])
def test_looking_changes_nothing(tenant: Tenant, client: Client, method: str) -> None:
    recipient = letter(tenant)
    for _ in range(2):
        page = getattr(client, method)(path(recipient))
        assert page.status_code == 200
    assert (said(), held(), MessageEvent.unscoped.count()) == ({}, [], 0)


def test_the_page_names_the_tenant_and_nothing_else_of_it(tenant: Tenant, client: Client) -> None:
    page = client.get(path(letter(tenant)))
    text = page.content.decode()
    assert "Springfield School" in text
    assert "J•••@example.com" in text
    assert "Stop “News”" in text
    assert "Stop everything from Springfield School" in text
    for secret in (JANE, "Wanjiku", "Secret", tenant.slug, "<script"):
        assert secret not in text
    assert not page.cookies
    assert page["Cache-Control"] == "no-store"
    assert page["Referrer-Policy"] == "no-referrer"
    assert page["X-Robots-Tag"] == "noindex"
    assert "default-src 'none'" in page["Content-Security-Policy"]
    assert "form-action 'self'" in page["Content-Security-Policy"]


def test_a_press_stops_the_category_and_another_brings_it_back(tenant: Tenant, client: Client) -> None:
    recipient = letter(tenant)
    page = client.post(path(recipient), {"action": "stop"})
    assert page.status_code == 200
    assert "You are unsubscribed" in page.content.decode()
    assert "Undo: get “News” again" in page.content.decode()
    assert (said(), held()) == ({"news": False}, [])
    assert "You are unsubscribed" in client.get(path(recipient)).content.decode()
    page = client.post(path(recipient), {"action": "undo"})
    assert "Stop “News”" in page.content.decode()
    assert said() == {"news": True}
    story = MessageEvent.unscoped.order_by("id").values_list("engagement", "detail", "source")
    assert list(story) == [
        ("unsubscribed", "wants no more of news", "recipient"),
        ("resubscribed", "wants news again", "recipient"),
    ]


def test_everything_can_be_stopped_and_brought_back(tenant: Tenant, client: Client) -> None:
    recipient = letter(tenant)
    for _ in range(2):
        text = client.post(path(recipient), {"action": "stop-all"}).content.decode()
        assert "You are unsubscribed" in text
        assert "Undo: get e-mails again" in text
        assert (said(), held()) == ({"": False}, [(JANE.casefold(), "opt_out")])
    for _ in range(2):
        text = client.post(path(recipient), {"action": "undo-all"}).content.decode()
        assert "Stop “News”" in text
        assert (said(), held()) == ({"": True}, [])
    assert MessageEvent.unscoped.count() == 2, "what is no news is not told again"
    assert Suppression.unscoped.get().release_reason == "subscribed again"


def test_undoing_everything_leaves_a_category_that_was_stopped_before(tenant: Tenant, client: Client) -> None:
    recipient = letter(tenant)
    client.post(path(recipient), {"action": "stop"})
    client.post(path(recipient), {"action": "stop-all"})
    text = client.post(path(recipient), {"action": "undo-all"}).content.decode()
    assert "Undo: get “News” again" in text
    assert said() == {"": True, "news": False}


def test_an_undo_does_not_free_an_address_that_bounces(tenant: Tenant, client: Client) -> None:
    recipient = letter(tenant)
    suppress(tenant_id=tenant.pk, channel="email", address=JANE, reason="hard_bounce")
    client.post(path(recipient), {"action": "stop-all"})
    client.post(path(recipient), {"action": "undo-all"})
    assert held() == [(JANE.casefold(), "hard_bounce")]


@pytest.mark.parametrize(
    ("category", "wishes", "rows"), [("news", {"news": False}, []), ("", {"": False}, [(JANE.casefold(), "opt_out")])]
)
@pytest.mark.parametrize("encoding", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_one_click_of_a_mail_program(
    tenant: Tenant, client: Client, category: str, wishes: dict[str, bool], rows: list[tuple[str, str]], encoding: str
) -> None:
    """RFC 8058: no cookies, no page before, no redirect; both encodings of a form."""
    recipient = letter(tenant, category)
    body = "List-Unsubscribe=One-Click"
    if "multipart" in encoding:
        body = '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
    for _ in range(2):
        answer = client.post(path(recipient), body, content_type=encoding)
        assert (answer.status_code, bool(answer.cookies)) == (200, False)
        assert (said(), held()) == (wishes, rows)
    assert Preference.unscoped.get(tenant=tenant).source == "one-click"


def test_the_headers_of_an_e_mail_lead_there(tenant: Tenant, client: Client) -> None:
    headers = list_headers(letter(tenant))
    name, _, value = headers["List-Unsubscribe-Post"].partition("=")
    target = headers["List-Unsubscribe"].strip("<>")
    assert (
        client.post(urlsplit(target).path, f"{name}={value}", content_type="application/x-www-form-urlencoded").status_code
        == 200
    )
    assert said() == {"news": False}


@pytest.mark.parametrize("body", [{}, {"action": "delete-all"}, {"List-Unsubscribe": "no"}])
def test_a_post_that_says_nothing_known_changes_nothing(tenant: Tenant, client: Client, body: dict[str, str]) -> None:
    assert client.post(path(letter(tenant)), body).status_code == 400
    assert (said(), held()) == ({}, [])


@pytest.mark.parametrize("method", ["put", "delete", "patch", "options"])
def test_other_methods_are_not_there(tenant: Tenant, client: Client, method: str) -> None:
    answer = getattr(client, method)(path(letter(tenant)))
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize("token", ["1", "1:x", "1:" + "A" * 43, "x:y:z", "%00", "-1:abc", "9" * 40])
def test_a_bad_token_is_not_found(tenant: Tenant, client: Client, token: str) -> None:
    letter(tenant)
    for answer in (client.get(f"/u/{token}"), client.post(f"/u/{token}", {"action": "stop-all"})):
        assert answer.status_code == 404
        assert "This link is not valid" in answer.content.decode()
        assert answer["X-Robots-Tag"] == "noindex"
    assert (said(), held()) == ({}, [])


def test_another_purposes_signature_is_not_found(tenant: Tenant, client: Client) -> None:
    recipient = letter(tenant)
    other = signing.Signer(salt="something.else").sign(str(recipient.pk))
    assert client.get(f"/u/{other}").status_code == 404
    assert recipient_of(signing.Signer(salt=SALT).sign("nobody")) is None


@pytest.mark.parametrize(
    ("category", "wishes", "rows"), [("news", {"news": False}, []), ("", {"": False}, [(JANE.casefold(), "opt_out")])]
)
def test_a_link_works_when_its_message_is_gone(
    tenant: Tenant, client: Client, category: str, wishes: dict[str, bool], rows: list[tuple[str, str]]
) -> None:
    recipient = letter(tenant, category)
    gone = path(recipient)
    recipient.message.delete()
    assert "J•••@example.com" in client.get(gone).content.decode()
    for _ in range(2):
        assert client.post(gone, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert (said(), held()) == (wishes, rows)
    assert Preference.unscoped.get().tenant_id == tenant.pk
    assert "You are unsubscribed" in client.get(gone).content.decode()
    assert client.post(gone, {"action": "undo-all"}).status_code == 200
    assert (said()[""], held(), MessageEvent.unscoped.count()) == (True, [], 0)


def test_a_link_says_nothing_and_does_not_open_once_altered_or_its_tenant_is_gone(tenant: Tenant, client: Client) -> None:
    recipient = letter(tenant)
    link = path(recipient)
    assert link == path(Recipient.unscoped.get(pk=recipient.pk)), "the same each time"
    sealed = urlsafe_b64decode(link.rpartition("/")[2] + "==")
    assert b"ane" not in sealed
    assert b"news" not in sealed
    for place in (3, len(link) // 2, len(link) - 3):
        altered = link[:place] + ("A" if link[place] != "A" else "B") + link[place + 1 :]
        assert client.post(altered, {"action": "stop-all"}).status_code == 404
    Tenant.objects.filter(pk=tenant.pk).delete()
    assert client.get(link).status_code == 404
    assert (said(), held()) == ({}, [])


def test_links_outlive_the_secret_key_while_it_is_a_fallback(tenant: Tenant, client: Client, settings: Any) -> None:
    link, before = path(letter(tenant)), settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 60, [before]
    assert client.get(link).status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert client.get(link).status_code == 404


def test_links_of_before_work_while_the_message_is_there(tenant: Tenant, client: Client) -> None:
    recipient = letter(tenant)
    old = f"/u/{signing.Signer(salt=SALT).sign(str(recipient.pk))}"
    assert client.post(old, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert said() == {"news": False}
    for written in (old, old.replace(":", "%3A")):
        assert old.rpartition(":")[2] not in shown(written)
    recipient.message.delete()
    assert client.get(old).status_code == 404


def test_a_link_reaches_its_own_recipient_alone(tenant: Tenant, other_tenant: Tenant, client: Client) -> None:
    mine, theirs = letter(tenant), letter(other_tenant)
    client.post(path(mine), {"action": "stop-all"})
    assert not Preference.unscoped.filter(tenant=other_tenant).exists()
    assert "You are unsubscribed" not in client.get(path(theirs)).content.decode()


def test_a_person_of_another_tenants_console_unsubscribes_too(tenant: Tenant, client: Client) -> None:
    other = make_tenant("somewhere-else")
    client.force_login(make_user("clerk", tenant=other, role=Role.STAFF), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(path(letter(tenant)), {"action": "stop-all"}).status_code == 200
    assert held() == [(JANE.casefold(), "opt_out")]


@pytest.mark.parametrize("category", ["otp", "alarm"])
def test_what_cannot_be_stopped_by_itself_is_not_offered(tenant: Tenant, client: Client, category: str) -> None:
    MessageCategory.unscoped.create(tenant=tenant, name="alarm", label="Alarms", is_critical=True)
    text = client.get(path(letter(tenant, category))).content.decode()
    assert "Stop everything from Springfield School" in text
    assert 'value="stop"' not in text


def test_the_tenants_own_label_is_shown_and_escaped(client: Client, registered: None) -> None:
    tenant = make_tenant("shop", "Mum & <b>Sons</b>")
    MessageCategory.unscoped.create(tenant=tenant, name="news", label="News <i>daily</i>")
    text = client.get(path(letter(tenant))).content.decode()
    assert "Stop “News &lt;i&gt;daily&lt;/i&gt;”" in text
    assert "Mum &amp; &lt;b&gt;Sons&lt;/b&gt;" in text


def test_a_wish_entered_by_the_office_is_shown_and_can_be_undone(tenant: Tenant, client: Client) -> None:
    recipient = letter(tenant)
    prefer(tenant_id=tenant.pk, channel="email", address=JANE, category="", allowed=False, source="key office")
    assert "You are unsubscribed" in client.get(path(recipient)).content.decode()
    assert "Stop “News”" in client.post(path(recipient), {"action": "undo-all"}).content.decode()


@pytest.mark.parametrize(
    ("channel", "address", "expected", "noun"),
    [
        ("sms", "+254712345678", "+254•••678", "text messages"),
        ("whatsapp", "+254712345678", "+254•••678", "WhatsApp messages"),
        ("push", "device-token", "this device", "notifications"),
        ("email", "j@example.com", "j•••@example.com", "e-mails"),
    ],
)
def test_addresses_are_masked(tenant: Tenant, client: Client, channel: str, address: str, expected: str, noun: str) -> None:
    assert masked(channel, address) == expected
    text = client.get(path(letter(tenant, channel=channel, address=address))).content.decode()
    assert expected in text
    assert noun in text
    assert address not in text


def test_no_token_stands_in_a_log(tenant: Tenant) -> None:
    url = unsubscribe_url(letter(tenant))
    token = url.rpartition("/")[2]
    for written in (url, url.replace(":", "%3A"), f"{path(letter(tenant))}?utm=1"):
        assert token.rpartition(":")[2] not in shown(written)
        assert "/u/" in shown(written)
