"""Who comes in, for which tenant, and what they may do there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.messaging.models import InboundMessage, Message, RecipientList
from integrations.messaging.sms.services import send_sms
from integrations.models import Membership, Role, Tenant, User
from integrations.tenancy.channels import may_send
from tests.factories import make_config, make_user
from tests.messaging.staff.conftest import confirmed, email, hidden, sms, to_list

pytestmark = pytest.mark.django_db
Desk = Callable[..., Client]
PAGES = ("/staff/", "/staff/sms/", "/staff/email/", "/staff/messages/")


def sent(tenant: Tenant) -> int:
    return int(Message.unscoped.filter(tenant=tenant).count())


@pytest.mark.parametrize("page", PAGES)
def test_strangers_are_sent_to_the_login_and_back(page: str, office: Tenant) -> None:
    answer = Client().get(page)
    assert (answer.status_code, answer["Location"]) == (302, f"/staff/login/?next={page}")


def test_a_member_logs_in_without_djangos_staff_flag(office: Tenant) -> None:
    user = User.objects.create_user(username="mary", password="correct-horse-battery")
    Membership.unscoped.create(tenant=office, user=user, role=Role.STAFF)
    client = Client()
    given = {"username": "mary", "password": "correct-horse-battery", "next": "/staff/sms/"}
    assert client.post("/staff/login/", {**given, "password": "wrong"}).status_code == 200
    answer = client.post("/staff/login/", given)
    assert (answer.status_code, answer["Location"]) == (302, "/staff/sms/")
    assert client.get("/staff/sms/").status_code == 200
    assert client.post("/staff/logout/")["Location"] == "/staff/login/"
    assert client.get("/staff/").status_code == 302


def test_login_leads_nowhere_else(office: Tenant, jane: Client) -> None:
    user = User.objects.create_user(username="mary", password="correct-horse-battery")
    Membership.unscoped.create(tenant=office, user=user, role=Role.STAFF)
    given = {"username": "mary", "password": "correct-horse-battery", "next": "https://evil.example/"}
    assert Client().post("/staff/login/", given)["Location"] == "/staff/"


@pytest.mark.parametrize("page", PAGES)
def test_pages_open_and_carry_the_policy(page: str, jane: Client) -> None:
    answer = jane.get(page)
    assert answer.status_code == 200
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    assert answer["Cache-Control"] == "no-store"


def test_staff_send_on_their_channels_only(at_desk: Desk, office: Tenant) -> None:
    client = at_desk(channels=("email",))
    assert client.get("/staff/email/").status_code == 200
    assert "/staff/sms/" not in client.get("/staff/").content.decode()
    for answer in (client.get("/staff/sms/"), client.post("/staff/sms/", sms()), client.post("/staff/sms/preview/", sms())):
        assert answer.status_code == 403
        assert "You may not send SMS" in answer.content.decode()
    assert sent(office) == 0


def test_admins_send_on_all(at_desk: Desk) -> None:
    client = at_desk(Role.ADMIN, channels=())
    assert [client.get(page).status_code for page in PAGES] == [200] * 4


def test_auditors_read_the_history_and_nothing_else(at_desk: Desk, office: Tenant) -> None:
    message = send_sms(tenant=office, to=["0711000001"], message="Hello")
    client = at_desk(Role.AUDITOR)
    page = f"/staff/messages/{message.pk}/"
    for path in ("/staff/", "/staff/messages/", page, f"{page}progress/", f"{page}recipients/"):
        assert client.get(path).status_code in (200, 286), path
    assert "Pause" not in client.get(page).content.decode()
    assert [client.get(path).status_code for path in ("/staff/sms/", "/staff/email/")] == [403, 403]
    for action in ("pause", "resume", "cancel", "resend"):
        assert client.post(f"{page}{action}/").status_code == 403
    message.refresh_from_db()
    assert message.paused_at is None
    assert message.cancelled_at is None


@pytest.mark.parametrize("change", [{"is_active": False}, {"channels": {"sms": True}}, {"channels": None}, {"channels": "sms"}])
def test_membership_that_is_off_or_odd_opens_nothing(change: dict[str, Any], at_desk: Desk, office: Tenant) -> None:
    client = at_desk()
    if change.get("channels", 1) is None:
        change = {"channels": []}
    Membership.unscoped.filter(tenant=office).update(**change)
    assert client.get("/staff/sms/").status_code == 403


def test_tenant_that_is_off_is_nobodys(at_desk: Desk, office: Tenant) -> None:
    client = at_desk()
    office.is_active = False
    office.save()
    assert client.get("/staff/").status_code == 403


def test_person_with_two_tenants_picks_one_and_keeps_it(at_desk: Desk, office: Tenant, other_tenant: Tenant) -> None:
    client = at_desk()
    Membership.unscoped.create(tenant=other_tenant, user=User.objects.get(username="jane"), role=Role.AUDITOR)
    answer = client.get("/staff/sms/")
    assert answer["Location"] == "/staff/organisation/?next=%2Fstaff%2Fsms%2F"
    shown = client.get(answer["Location"]).content.decode()
    assert office.name in shown
    picked = client.post("/staff/organisation/", {"tenant": office.slug, "next": "/staff/sms/"})
    assert picked["Location"] == "/staff/sms/"
    assert client.get("/staff/sms/").status_code == 200
    assert client.post("/staff/organisation/", {"tenant": other_tenant.slug, "next": "//evil.example"})["Location"] == "/staff/"
    # An auditor there: the role is that of the tenant picked.
    assert client.get("/staff/sms/").status_code == 403


def test_nobody_picks_a_tenant_of_others(jane: Client, office: Tenant, other_tenant: Tenant) -> None:
    assert jane.post("/staff/organisation/", {"tenant": other_tenant.slug}).status_code == 200
    assert office.name in jane.get("/staff/").content.decode()


def test_operator_picks_any_and_sees_that_one_alone(office: Tenant, other_tenant: Tenant) -> None:
    make_config(other_tenant, "africastalking", account="studio")
    mine = send_sms(tenant=office, to=["0711000001"], message="From the school")
    theirs = send_sms(tenant=other_tenant, to=["0711000002"], message="From the studio")
    operator = Client()
    operator.force_login(
        User.objects.create_superuser("root", password="correct-horse-battery"),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    assert operator.get("/staff/").status_code == 302
    operator.post("/staff/organisation/", {"tenant": office.slug})
    shown = operator.get("/staff/messages/").content.decode()
    assert "From the school" in shown
    assert "From the studio" not in shown
    assert operator.get(f"/staff/messages/{mine.pk}/").status_code == 200
    assert operator.get(f"/staff/messages/{theirs.pk}/").status_code == 404


def test_what_is_another_tenants_is_not_there(jane: Client, other_tenant: Tenant) -> None:
    make_config(other_tenant, "africastalking", account="studio")
    message = send_sms(tenant=other_tenant, to=["0711000009"], message="Secret of the studio")
    foreign = RecipientList.unscoped.create(tenant=other_tenant, filename="theirs.csv", columns=["Phone"], rows=1)
    page = f"/staff/messages/{message.pk}/"
    for path in (page, f"{page}progress/", f"{page}recipients/", f"/staff/lists/{foreign.pk}/"):
        assert jane.get(path).status_code == 404, path
    for action in ("pause", "resume", "cancel", "resend"):
        assert jane.post(f"{page}{action}/").status_code == 404
    shown = jane.get(f"/staff/sms/?upload={foreign.pk}").content.decode()
    assert "theirs.csv" not in shown
    answer = jane.post("/staff/sms/", sms(to="", upload=foreign.pk))
    assert answer.status_code == 400
    assert "theirs.csv" not in answer.content.decode()
    assert "Secret" not in jane.get("/staff/messages/?text=Secret").content.decode().replace('value="Secret"', "")


def test_every_post_needs_its_token(office: Tenant) -> None:
    user = User.objects.create_user(username="mary", password="correct-horse-battery")
    Membership.unscoped.create(tenant=office, user=user, role=Role.STAFF)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert client.post("/staff/sms/", sms()).status_code == 403
    assert sent(office) == 0


def browser_api(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_api_asks_a_persons_membership_for_the_channel(at_desk: Desk, office: Tenant) -> None:
    at_desk(channels=("email",))
    client = browser_api(User.objects.get(username="jane"))
    body = {"to": "0711000001", "message": "Hello"}
    answer = client.post("/api/v1/integrations/sms/send", body, format="json")
    assert answer.status_code == 403
    assert "sms" in answer.json()["errors"][0]["detail"]
    Membership.unscoped.filter(tenant=office).update(channels=["sms"])
    assert client.post("/api/v1/integrations/sms/send", body, format="json").status_code == 202
    Membership.unscoped.filter(tenant=office).update(role=Role.ADMIN, channels=[])
    assert client.post("/api/v1/integrations/sms/send", body, format="json").status_code == 202


def test_keys_are_governed_by_their_scopes_alone(office: Tenant, staff_api: APIClient) -> None:
    answer = staff_api.post("/api/v1/integrations/sms/send", {"to": "0711000001", "message": "Hello"}, format="json")
    assert answer.status_code == 202


def test_who_may_send(office: Tenant, other_tenant: Tenant) -> None:
    user = User.objects.create_user(username="mary", password="correct-horse-battery")
    assert not may_send(user, office, "sms")
    with scope(tenant=office):
        Membership.objects.create(tenant=office, user=user, role=Role.STAFF, channels=["sms"])
    assert may_send(user, office, "sms")
    assert not may_send(user, office, "push")
    assert not may_send(user, other_tenant, "sms")
    root = User.objects.create_superuser("root", password="correct-horse-battery")
    assert may_send(root, other_tenant, "whatsapp")
    root.is_active = False
    assert not may_send(root, other_tenant, "whatsapp")


def test_every_way_to_send_by_the_api_asks_for_its_channel(at_desk: Desk, office: Tenant) -> None:
    message = send_sms(tenant=office, to=["0711000001"], message="Hello")
    row = InboundMessage.unscoped.create(tenant=office, channel="sms", provider="x", address="+254711000001", text="Hi")
    stored = RecipientList.unscoped.create(tenant=office, filename="all.csv", columns=["Phone"], rows=1)
    at_desk(channels=())
    client = browser_api(User.objects.get(username="jane"))
    base = "/api/v1/integrations"
    asked: dict[str, dict[str, Any]] = {
        f"{base}/sms/send": {"to": "0711000001", "message": "Hello"},
        f"{base}/email/send": {"to": "a@example.com", "subject": "Hello", "text": "Hello"},
        f"{base}/push/send": {"to": "x" * 40, "title": "Hello"},
        f"{base}/whatsapp/send": {"to": "0711000001", "text": "Hello"},
        f"{base}/inbound-messages/{row.pk}/reply": {"text": "Hello"},
        f"{base}/recipient-lists/{stored.pk}/send": {"channel": "sms", "message": "Hello"},
        **{f"{base}/messages/{message.pk}/{action}": {} for action in ("pause", "resume", "cancel", "resend")},
    }
    answers = {path: client.post(path, body, format="json").status_code for path, body in asked.items()}
    assert answers == dict.fromkeys(asked, 403)
    assert sent(office) == 1


def test_an_admin_sets_the_channels_of_others(at_desk: Desk, office: Tenant) -> None:
    at_desk(channels=("sms",))
    mine = Membership.unscoped.get(tenant=office)
    make_user("head", tenant=office, role=Role.ADMIN)
    admin = Client()
    admin.force_login(User.objects.get(username="head"), backend="django.contrib.auth.backends.ModelBackend")
    page = f"/admin/integrations/membership/{mine.pk}/change/"
    shown = admin.get(page).content.decode()
    assert 'value="whatsapp"' in shown
    answer = admin.post(page, {"role": "staff", "channels": ["email", "push"], "is_active": "on"})
    assert answer.status_code == 302
    mine.refresh_from_db()
    assert mine.channels == ["email", "push"]
    assert admin.post(page, {"role": "staff", "channels": ["pigeon"], "is_active": "on"}).status_code == 200
    mine.refresh_from_db()
    assert mine.channels == ["email", "push"]
    assert "E-mail, Push" in admin.get("/admin/integrations/membership/").content.decode()
    assert 'href="/staff/"' in admin.get("/admin/").content.decode()


def test_what_was_written_for_one_tenant_is_not_sent_for_another(at_desk: Desk, office: Tenant, other_tenant: Tenant) -> None:
    make_config(other_tenant, "africastalking", account="studio")
    client = at_desk()
    Membership.unscoped.create(tenant=other_tenant, user=User.objects.get(username="jane"), role=Role.ADMIN)
    client.post("/staff/organisation/", {"tenant": office.slug})
    answer = client.post("/staff/sms/", sms(to="0711000001, 0711000002", text="For the school"))
    client.post("/staff/organisation/", {"tenant": other_tenant.slug})
    assert client.get(answer["Location"]).status_code == 404
    assert client.post(answer["Location"], {"for": other_tenant.slug}).status_code == 404
    unsent = answer["Location"].split("/")[-2]
    assert "For the school" not in client.get(f"/staff/sms/?unsent={unsent}").content.decode()
    assert (sent(office), sent(other_tenant)) == (0, 0)
    client.post("/staff/organisation/", {"tenant": office.slug})
    assert confirmed(client, answer["Location"]).status_code == 302
    assert (sent(office), sent(other_tenant)) == (1, 0)


def test_losing_the_channel_between_writing_and_confirming_stops_it(at_desk: Desk, office: Tenant) -> None:
    client = at_desk()
    answer = client.post("/staff/sms/", sms(to="0711000001, 0711000002"))
    Membership.unscoped.filter(tenant=office).update(channels=["email"])
    assert client.post(answer["Location"], {"for": office.slug}).status_code == 404
    assert sent(office) == 0


def at_two(at_desk: Desk, office: Tenant, other_tenant: Tenant) -> Client:
    """Jane works for both, and for the office at this moment."""
    make_config(other_tenant, "africastalking", account="studio")
    client = at_desk()
    jane = User.objects.get(username="jane")
    Membership.unscoped.create(tenant=other_tenant, user=jane, role=Role.STAFF, channels=["sms", "email"])
    client.post("/staff/organisation/", {"tenant": office.slug})
    return client


@pytest.mark.parametrize("action", ["send", "preview", "template"])
@pytest.mark.parametrize(("path", "made"), [("/staff/sms/", sms), ("/staff/email/", email)])
def test_form_of_one_tenant_is_not_sent_in_anothers_name(
    path: str, made: Callable[..., dict[str, Any]], action: str, at_desk: Desk, office: Tenant, other_tenant: Tenant
) -> None:
    client = at_two(at_desk, office, other_tenant)
    shown = client.get(path).content.decode()
    client.post("/staff/organisation/", {"tenant": other_tenant.slug})  # in another tab
    rows = SimpleUploadedFile("l.csv", b"Phone\n0711000001\n")
    given = made(id=hidden(shown, "id"), action=action, file=rows, **{"for": hidden(shown, "for")})
    answer = client.post(path, given)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "You have changed to Lens &amp; Light" in page
    assert "School is" in page
    assert hidden(page, "for") == other_tenant.slug
    assert hidden(page, "id") != hidden(shown, "id")
    assert (sent(office), sent(other_tenant), RecipientList.unscoped.count()) == (0, 0, 0)


def test_form_without_its_tenant_is_not_sent(jane: Client, office: Tenant) -> None:
    given = sms()
    del given["for"]
    assert jane.post("/staff/sms/", given).status_code == 409
    assert sent(office) == 0


def test_confirmation_and_list_of_one_tenant_are_not_sent_in_anothers_name(
    at_desk: Desk, office: Tenant, other_tenant: Tenant
) -> None:
    client = at_two(at_desk, office, other_tenant)
    confirm = client.post("/staff/sms/", sms(to="0711000001, 0711000002"))["Location"]
    rows = SimpleUploadedFile("l.csv", b"Phone\n0711000001\n", "text/csv")
    columns = client.post("/staff/sms/", sms(to="", file=rows))["Location"]
    client.post("/staff/organisation/", {"tenant": other_tenant.slug})
    for url in (confirm, columns):
        answer = client.post(url, {"for": office.slug, "action": "send", "address": "Phone"})
        assert answer.status_code == 409
        assert "You have changed to Lens &amp; Light" in answer.content.decode()
    assert (sent(office), sent(other_tenant)) == (0, 0)
    client.post("/staff/organisation/", {"tenant": office.slug})
    assert confirmed(client, confirm).status_code == 302
    assert to_list(client, columns, address="Phone").status_code == 302
    assert (sent(office), sent(other_tenant)) == (2, 0)


def test_ended_session_leads_the_whole_page_to_the_login(jane: Client, office: Tenant) -> None:
    message = send_sms(tenant=office, to=["0711000001"], message="Hello")
    page = f"/staff/messages/{message.pk}/"
    jane.logout()
    htmx = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{page}?page=2"}
    for part in ("progress/", "recipients/"):
        answer = jane.get(f"{page}{part}", headers=htmx)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer["HX-Redirect"] == f"/staff/login/?next={page}%3Fpage%3D2"
    for foreign in ("https://evil.example/staff/", "http://testserver/admin/", "http://[", ""):
        answer = jane.get(f"{page}progress/", headers={**htmx, "HX-Current-URL": foreign})
        assert answer["HX-Redirect"] == f"/staff/login/?next={page}progress/"


def test_part_of_a_page_leads_the_whole_page_to_the_picker(at_desk: Desk, office: Tenant, other_tenant: Tenant) -> None:
    client = at_desk()
    Membership.unscoped.create(tenant=other_tenant, user=User.objects.get(username="jane"), role=Role.STAFF)
    message = send_sms(tenant=office, to=["0711000001"], message="Hello")
    answer = client.get(f"/staff/messages/{message.pk}/progress/", headers={"HX-Request": "true"})
    assert answer["HX-Redirect"].startswith("/staff/organisation/?next=")


def test_what_is_posted_after_the_session_ended_is_not_lost_in_silence(jane: Client, office: Tenant) -> None:
    jane.logout()
    login = "/staff/login/?next=/staff/sms/&lost=1"
    answer = jane.post("/staff/sms/", sms(text="A long <b>text</b>"))
    assert answer.status_code == 403
    for words in (
        "Nothing was sent",
        "A long &lt;b&gt;text&lt;/b&gt;</textarea>",
        "0711000001",
        f'href="{login.replace("&", "&amp;")}"',
    ):
        assert words in answer.content.decode()
    answer = jane.post("/staff/email/", email(html="<div>Dear <b>parents</b></div>"))
    for words in ("Term dates", "Dear parents</textarea>", "parent@example.com"):
        assert words in answer.content.decode()
    for html in ("<div>" * 9_000, "<" * 49_000, "<div>" * 60_000):
        assert jane.post("/staff/email/", email(html=html)).status_code == 403
    assert jane.post("/staff/sms/", {})["Location"] == login
    assert "nothing was sent" in jane.get(login).content.decode()
    assert "nothing was sent" not in jane.get("/staff/login/?next=/staff/sms/").content.decode()
    message = send_sms(tenant=office, to=["0711000001"], message="Hello")
    page = f"/staff/messages/{message.pk}/"
    answer = jane.post(f"{page}cancel/", headers={"Referer": f"http://testserver{page}"})
    assert answer["Location"] == f"/staff/login/?next={page}&lost=1"  # a button's own address shows nothing
    # Whoever is writing keeps the page with the words.
    preview = jane.post("/staff/sms/preview/", sms(), headers={"HX-Request": "true"})
    assert "HX-Redirect" not in preview.headers
    assert "Your session has ended" in preview.content.decode()
    assert sent(office) == 1


def test_front_page_leads_members_to_what_they_may_open(jane: Client) -> None:
    assert jane.get("/")["Location"] == "/staff/"
    User.objects.filter(username="jane").update(is_staff=True)
    assert jane.get("/")["Location"] == "/admin/"
    assert Client().get("/")["Location"] == "/admin/"
