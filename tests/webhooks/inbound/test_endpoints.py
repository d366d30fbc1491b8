"""Inbound endpoints by API and page: made, changed, rotated, removed; their secrets are shown once."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from integrations.models import AuditEntry, Role, Tenant
from tests.factories import MovableClock, make_client, make_config, make_source, make_user
from tests.webhooks.inbound.support import body_of, path_of, plain, post, receipts
from webhooks.inbound.models import InboundEndpoint

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
URL = "/api/v1/integrations/inbound-endpoints"
WHOLE = {
    "name": "Shop",
    "scheme": "hmac",
    "options": {"header": "X-Shop-Signature", "timestamp_header": "X-Time", "template": "{timestamp}:{body}"},
    "tolerance": 120,
    "events": ["order.*"],
    "dedupe_path": "header:X-Id",
    "type_path": "body:type",
    "event_types": {"order.made": "order.created", "*": "shop.said"},
    "fields": {"id": "data.id", "customer.name": "data.who", "source": "=shop"},
    "allowed_ips": ["203.0.113.7", "2001:db8::/32"],
    "is_active": True,
}


def refused(answer: Any) -> set[str]:
    """Return which members a 400 names."""
    assert answer.status_code == 400, answer.content
    return {each["attr"] for each in answer.json()["errors"]}


def test_a_source_is_made_changed_and_removed(admin_api: APIClient, tenant: Tenant) -> None:
    made = admin_api.post(URL, WHOLE, format="json")
    assert made.status_code == 201, made.json()
    shown = made.json()
    secret = shown.pop("secret")
    assert len(secret) > 40
    assert {name: shown[name] for name in WHOLE} == {**WHOLE, "allowed_ips": ["203.0.113.7/32", "2001:db8::/32"]}
    row = InboundEndpoint.unscoped.get(pk=shown["id"])
    assert shown["urls"] == [
        {"purpose": "", "url": f"{django_settings.PUBLIC_BASE_URL}/hooks/{row.token}", "what": "Send requests here"}
    ]
    assert (shown["kind"], shown["provider"], shown["config"], shown["received"]) == ("generic", "", None, 0)
    assert [each["expires_at"] for each in shown["secrets"]] == [None]
    assert secret not in row.sealed_secrets
    path = f"{URL}/{row.pk}"
    got = admin_api.get(path).json()
    assert got == {name: value for name, value in shown.items() if name != "note"}
    assert secret not in str(got)
    assert admin_api.patch(path, {"name": "Main shop"}, format="json").json()["events"] == ["order.*"]
    emptied = admin_api.put(path, {"name": "Bare", "scheme": "hmac"}, format="json").json()
    assert (emptied["name"], emptied["events"], emptied["options"], emptied["tolerance"]) == ("Bare", [], {}, 300)
    assert admin_api.delete(path).status_code == 204
    for method in ("get", "patch", "delete"):
        assert getattr(admin_api, method)(path).status_code == 404
    assert admin_api.get(URL).json()["results"] == []
    entries = AuditEntry.unscoped.filter(tenant=tenant, object_id=row.pk)
    assert list(entries.order_by("id").values_list("action", flat=True)) == [
        f"inbound_endpoint.{each}" for each in ("created", "updated", "updated", "deleted")
    ]
    assert secret not in str(list(entries.values()))


def test_making_is_idempotent(admin_api: APIClient) -> None:
    first = admin_api.post(URL, WHOLE, format="json", headers={"Idempotency-Key": "one"})
    again = admin_api.post(URL, WHOLE, format="json", headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert InboundEndpoint.unscoped.count() == 1


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"scheme": None}, "scheme"),
        ({"scheme": "md5"}, "scheme"),
        ({"config": 1}, "config"),
        ({"config": "x"}, "config"),
        ({"options": {"colour": "red"}}, "options.colour"),
        ({"options": {"algorithm": "md5"}}, "options.algorithm"),
        ({"options": {"encoding": "rot13"}}, "options.encoding"),
        ({"options": {"header": "X Sig"}}, "options.header"),
        ({"options": {"template": "{timestamp}"}}, "options.template"),
        ({"options": {"template": "{body}{body}"}}, "options.template"),
        ({"options": {"template": "{timestamp}.{body}"}}, "options.timestamp_header"),
        ({"options": {"template": "{body}", "timestamp_header": "X-Time"}}, "options.template"),
        ({"options": {"handshake": "shake"}}, "options.handshake"),
        ({"options": {"handshake": "meta"}}, "options.verify_token"),
        ({"options": {"verify_token": "••••"}}, "options.verify_token"),
        ({"options": []}, "options"),
        ({"scheme": "basic", "options": {}}, "options.username"),
        ({"scheme": "basic", "options": {"username": "a:b"}}, "options.username"),
        ({"scheme": "slack", "options": {}}, "secret"),
        ({"scheme": "ed25519", "options": {}, "secret": "not a key"}, "secret"),
        ({"scheme": "standard", "options": {}, "secret": "whsec_short"}, "secret"),
        ({"scheme": "standard", "options": {}, "secret": "no prefix at all"}, "secret"),
        ({"secret": "short"}, "secret"),
        ({"tolerance": 9}, "tolerance"),
        ({"tolerance": 43_201}, "tolerance"),
        ({"tolerance": 10**30}, "tolerance"),
        ({"events": ["with space"]}, "events"),
        ({"events": ["x"] * 101}, "events"),
        ({"dedupe_path": "body:"}, "dedupe_path"),
        ({"dedupe_path": "query:id"}, "dedupe_path"),
        ({"type_path": "header:X Y"}, "type_path"),
        ({"type_path": "a..b"}, "type_path"),
        ({"event_types": {"*": "payment.completed"}}, "event_types"),
        ({"event_types": {"*": "message.delivered"}}, "event_types"),
        ({"event_types": {"*": "payer.stored"}}, "event_types"),
        ({"event_types": {"*": "webhook.test"}}, "event_types"),
        ({"event_types": {"*": "Order Created"}}, "event_types"),
        ({"event_types": {"": "order.created"}}, "event_types"),
        ({"fields": {"a b": "id"}}, "fields"),
        ({"fields": {"id": "a..b"}}, "fields"),
        ({"fields": {"who": "a", "who.name": "b"}}, "fields"),
        ({"allowed_ips": ["localhost"]}, "allowed_ips"),
        ({"allowed_ips": ["10.0.0.0/33"]}, "allowed_ips"),
        ({"token": "0" * 40}, "token"),
        ({"name": "x" * 101}, "name"),
    ],
)
def test_a_bad_setting_is_named_and_nothing_is_made(admin_api: APIClient, body: dict[str, Any], attr: str) -> None:
    given = {name: value for name, value in {**WHOLE, **body}.items() if value is not None}
    assert any(name == attr or name.startswith(f"{attr}.") for name in refused(admin_api.post(URL, given, format="json")))
    assert not InboundEndpoint.unscoped.exists()


def test_a_rotated_secret_counts_for_the_overlap(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    source, old = make_source(tenant)
    path = f"{URL}/{source.pk}/rotate-secret"
    answer = admin_api.post(path, {"overlap_seconds": 3600}, format="json", headers={"Idempotency-Key": "r"})
    new = answer.json()["secret"]
    assert (
        admin_api.post(path, {"overlap_seconds": 3600}, format="json", headers={"Idempotency-Key": "r"}).json()["secret"] == new
    )
    assert len(answer.json()["secrets"]) == 2
    clock.advance(3599)
    for number, secret in enumerate((old, new)):
        body = body_of({"n": number})
        assert post(path_of(source), body, plain(secret, body)).status_code == 200
    clock.advance(1)
    body = body_of({"n": 2})
    assert post(path_of(source), body, plain(old, body)).status_code == 401
    assert post(path_of(source), body, plain(new, body)).status_code == 200
    brought = admin_api.post(path, {"overlap_seconds": 0, "secret": "brought along"}, format="json").json()
    assert brought["secret"] is None
    assert len(brought["secrets"]) == 1
    assert post(path_of(source), body, plain(new, body)).status_code == 401
    assert refused(admin_api.post(path, {"secret": "brought along"}, format="json")) == {"secret"}
    assert refused(admin_api.post(path, {"overlap_seconds": 604_801}, format="json")) == {"overlap_seconds"}
    for _ in range(9):
        assert admin_api.post(path, {}, format="json").status_code == 200
    assert refused(admin_api.post(path, {}, format="json")) == {"overlap_seconds"}


def test_a_provider_account_has_one_and_little_can_be_set(admin_api: APIClient, tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking")
    make_config(tenant, "mpesa")
    assert admin_api.post(URL, {"config": config.pk, "name": "Texts"}, format="json").status_code == 201
    assert admin_api.post(URL, {"config": config.pk}, format="json").status_code == 409
    rows = admin_api.get(URL, {"kind": "provider", "provider": "africastalking"}).json()["results"]
    (row,) = rows
    assert (row["kind"], row["provider"], row["config"], row["name"]) == ("provider", "africastalking", config.pk, "Texts")
    assert f"{django_settings.PUBLIC_BASE_URL}/hooks/{config.hook_token}/dlr" in [each["url"] for each in row["urls"]]
    path = f"{URL}/{row['id']}"
    assert refused(admin_api.patch(path, {"tolerance": 60}, format="json")) == {"tolerance"}
    assert refused(admin_api.patch(path, {"event_types": {}}, format="json")) == {"event_types"}
    assert refused(admin_api.patch(path, {"config": config.pk + 1}, format="json")) == {"config"}
    assert admin_api.put(path, {"name": "Texts in", "events": ["a*"]}, format="json").json()["events"] == ["a*"]
    assert admin_api.delete(path).status_code == 409
    rotated = admin_api.post(f"{path}/rotate-secret", {}, format="json").json()
    assert rotated["secret"] is None
    assert rotated["urls"] != row["urls"]
    assert "provider" in rotated["note"]
    assert rotated["previous_until"] is not None
    config.refresh_from_db()
    assert all(f"/hooks/{config.hook_token}/" in each["url"] for each in rotated["urls"])
    assert refused(admin_api.post(f"{path}/rotate-secret", {"secret": "x" * 20}, format="json")) == {"secret"}
    assert admin_api.get(URL, {"kind": "generic"}).json()["results"] == []


def test_scopes_and_roles(tenant: Tenant, staff_api: APIClient) -> None:
    source, _secret = make_source(tenant)
    reader = make_client(tenant, scopes=["inbound_endpoints:read"])
    assert reader.get(URL).status_code == 200
    assert reader.post(f"{URL}/{source.pk}/rotate-secret").status_code == 403
    assert make_client(tenant, scopes=["webhooks"]).get(URL).status_code == 403
    assert staff_api.get(URL).status_code == 403
    assert APIClient().get(URL).status_code == 401


def test_addresses_are_for_those_who_may_change_them(tenant: Tenant) -> None:
    """Whoever knows one can send; for some providers that is all the proof there is."""
    config = make_config(tenant, "africastalking")
    source, _secret = make_source(tenant)
    make_client(tenant).get(URL)
    for scopes in (None, ["*"], ["inbound_endpoints"], ["inbound_endpoints:read", "inbound_endpoints:write"]):
        text = make_client(tenant, scopes=scopes).get(URL).content.decode()
        assert (config.hook_token in text, source.token in text) == (True, True)
    for client in (make_client(tenant, Role.AUDITOR), make_client(tenant, scopes=["inbound_endpoints:read", "webhooks:write"])):
        listed = client.get(URL)
        assert config.hook_token not in listed.content.decode()
        rows = {row["kind"]: row for row in listed.json()["results"]}
        assert f"{django_settings.PUBLIC_BASE_URL}/hooks/••••/dlr" in [each["url"] for each in rows["provider"]["urls"]]
        one = client.get(f"{URL}/{source.pk}").json()
        assert [each["url"] for each in one["urls"]] == [f"{django_settings.PUBLIC_BASE_URL}/hooks/••••"]


def test_the_migration_moves_the_word_and_back(tenant: Tenant) -> None:
    source, _secret = make_source(tenant, options={"handshake": "meta", "verify_token": "our-own-word"})
    bare, _secret = make_source(tenant)
    rows = InboundEndpoint.unscoped.order_by("pk")
    after = list(rows.values_list("options", "sealed_verify_token"))
    migration = import_module("webhooks.inbound.migrations.0003_sealed_verify_token")
    migration.into_the_options(apps, None)
    word = source.sealed_verify_token
    assert InboundEndpoint.unscoped.get(pk=source.pk).options == {"handshake": "meta", "verify_token": word}
    assert InboundEndpoint.unscoped.get(pk=bare.pk).options == {}
    InboundEndpoint.unscoped.update(sealed_verify_token="")
    migration.out_of_the_options(apps, None)
    assert list(rows.values_list("options", "sealed_verify_token")) == after


def test_what_was_turned_away_is_told(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    source, _secret = make_source(tenant)
    for _ in range(2):
        post(path_of(source), b"{}", {}, REMOTE_ADDR="198.51.100.7")
    clock.advance(days=1)
    post(path_of(source), b"{}", plain("wrong-secret", b"{}"), REMOTE_ADDR="198.51.100.8")
    newest, oldest = admin_api.get(f"{URL}/{source.pk}/rejections").json()["results"]
    assert (newest["reason"], newest["count"], newest["last_ip"]) == ("bad_signature", 1, "198.51.100.8")
    assert newest["last_detail"] == "no signature holds"
    assert (oldest["day"], oldest["count"]) == ("2026-11-20", 2)
    assert admin_api.get(f"{URL}/src_{'0' * 26}/rejections").status_code == 404


# --- the console


@pytest.fixture
def browser(tenant: Tenant) -> Client:
    client = Client()
    user = make_user("clerk", tenant=tenant, role=Role.ADMIN)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def page(name: str, *args: str) -> str:
    return reverse(f"admin:webhooks_inbound_inboundendpoint_{name}", args=args)


def form_of(answer: Any) -> dict[str, Any]:
    """Return what a browser would send back unchanged."""
    form = answer.context["adminform"].form
    values = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    return {name: "on" if value is True else value for name, value in values.items() if value not in (None, False)}


@pytest.mark.parametrize("scheme", ["hmac", "timestamped", "github", "standard", "basic", "api_key"])
def test_a_source_is_made_on_its_page(browser: Client, tenant: Tenant, scheme: str) -> None:
    assert b"How does the source prove who it is?" in browser.get(page("add")).content
    url = f"{page('add')}?scheme={scheme}"
    given = {**form_of(browser.get(url)), "name": "Shop", "event_types": "* = order.created\npaid = order.updated"}
    given |= {"fields": "id = data.id\nsource = =shop", "option_username": "shop" if scheme == "basic" else ""}
    answer = browser.post(url, given)
    row = InboundEndpoint.unscoped.get()
    secret = row.secrets()[0]["secret"]
    assert secret in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert (row.tenant_id, row.scheme, row.fields) == (tenant.pk, scheme, {"id": "data.id", "source": "=shop"})
    assert row.event_types == {"*": "order.created", "paid": "order.updated"}
    shown = browser.get(page("change", row.pk)).content.decode()
    assert f"/hooks/{row.token}" in shown
    assert secret not in shown


def test_mistakes_stand_beside_their_fields(browser: Client) -> None:
    url = f"{page('add')}?scheme=slack"
    given = {**form_of(browser.get(url)), "event_types": "* = payment.completed", "fields": "nonsense", "allowed_ips": "here"}
    errors = browser.post(url, given).context["adminform"].form.errors
    assert {"secret", "fields"} <= set(errors)
    given |= {"secret": "slack-gave-this", "fields": ""}
    errors = browser.post(url, given).context["adminform"].form.errors
    assert set(errors) == {"event_types", "allowed_ips"}
    assert not InboundEndpoint.unscoped.exists()


def test_pages_change_rotate_and_remove(browser: Client, tenant: Tenant) -> None:
    source, secret = make_source(tenant, options={"handshake": "meta", "verify_token": "our-own-word"})
    body = body_of()
    post(path_of(source), body, plain(secret, body))
    post(path_of(source), body, plain("wrong-secret", body))
    shown = browser.get(page("change", source.pk))
    text = shown.content.decode()
    assert "bad_signature" in text
    assert "our-own-word" not in text
    assert f"/receipt/{receipts()[0].pk}/" in text
    changed = {**form_of(shown), "name": "Other shop", "events": "order.*\nstock.*"}
    assert browser.post(page("change", source.pk), changed).status_code == 302
    stored = InboundEndpoint.unscoped.get(pk=source.pk)
    assert (stored.name, stored.events, stored.options) == ("Other shop", ["order.*", "stock.*"], source.options)
    press = page("press", source.pk, "rotate")
    answer = browser.post(press, {"overlap": "24"})
    assert InboundEndpoint.unscoped.get(pk=source.pk).secrets()[0]["secret"] in answer.content.decode()
    assert browser.post(page("delete", source.pk), {"post": "yes"}).status_code == 302
    assert browser.get(page("change", source.pk)).status_code == 302
    assert b"Other shop" in browser.get(reverse("admin:webhooks_inbound_receipt_changelist")).content


def test_a_provider_accounts_page(browser: Client, tenant: Tenant, other_tenant: Tenant) -> None:
    config, foreign = make_config(tenant, "africastalking"), make_config(other_tenant, "africastalking", account="studio")
    assert browser.get(page("changelist")).status_code == 200
    row = InboundEndpoint.unscoped.get(config=config)
    assert not InboundEndpoint.unscoped.filter(config=foreign).exists(), "another tenant's are none of hers"
    shown = browser.get(page("change", row.pk))
    assert config.hook_token in shown.content.decode()
    assert browser.post(page("change", row.pk), {**form_of(shown), "allowed_ips": "10.0.0.0/8"}).status_code == 302
    assert browser.post(page("press", row.pk, "rotate"), {"overlap": "1"}).status_code == 302
    stored = InboundEndpoint.unscoped.get(pk=row.pk)
    assert (stored.allowed_ips, stored.previous_token) == (["10.0.0.0/8"], config.hook_token)
    assert browser.post(page("delete", row.pk), {"post": "yes"}).status_code == 403


def test_an_auditor_looks_and_learns_no_address(tenant: Tenant) -> None:
    source, _secret = make_source(tenant)
    client = Client()
    client.force_login(
        make_user("auditor", tenant=tenant, role=Role.AUDITOR), backend="django.contrib.auth.backends.ModelBackend"
    )
    text = client.get(page("change", source.pk)).content.decode()
    assert "Shop" in text
    assert source.token not in text
    assert client.post(page("press", source.pk, "rotate"), {"overlap": "0"}).status_code == 403
