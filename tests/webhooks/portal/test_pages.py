"""What people do in the portal, without a script."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from integrations.models import AuditEntry, Role, Tenant
from tests import factories
from tests.factories import MovableClock
from tests.webhooks.portal.conftest import MakeClient, make_dead, make_link, text_of
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, EventTypeDefinition, PortalLink, Replay

pytestmark = pytest.mark.django_db
FOR = {"for": "springfield-school"}
NEW = {
    **FOR,
    "name": "Shop",
    "url": "http://127.0.0.1:8999/shop?key=s3cret",
    "events": "payment.*\nmessage.failed",
    "headers": "X-Team: pupils and parents",
    "payload_format": "standard",
    "ordering": "none",
    "batch_size": "1",
    "batch_wait": "5",
    "max_in_flight": "8",
    "scheme": "v1",
}


@pytest.fixture
def jane(logged_in: MakeClient) -> Client:
    return logged_in()


def keys(endpoint: Endpoint) -> list[Any]:
    endpoint.refresh_from_db()
    return endpoint.signing_keys()


def at(endpoint: Endpoint, more: str = "") -> str:
    return f"/portal/endpoints/{endpoint.pk}/{more}"


def test_an_endpoint_is_added_and_its_secret_shown_once(jane: Client) -> None:
    assert "There is no endpoint yet" in text_of(jane.get("/portal/"))
    assert jane.get("/portal/endpoints/new/").status_code == 200
    answer = jane.post("/portal/endpoints/new/", NEW)
    endpoint = Endpoint.unscoped.get()
    (key,) = keys(endpoint)
    assert answer.status_code == 200
    assert key["secret"] in text_of(answer)
    assert (endpoint.name, endpoint.url, endpoint.events) == ("Shop", NEW["url"], ["payment.*", "message.failed"])
    assert endpoint.headers() == {"X-Team": "pupils and parents"}
    for page in ("", "edit/", "verify/", "deliveries/", "recover/"):
        again = jane.get(at(endpoint, page))
        assert again.status_code == 200
        assert key["secret"] not in text_of(again)
    assert "pupils and parents" not in text_of(jane.get(at(endpoint, "edit/")))


def test_one_endpoint_too_many_is_refused_on_the_form(jane: Client, settings: Any) -> None:
    settings.WEBHOOK_MAX_ENDPOINTS = 0
    answer = jane.post("/portal/endpoints/new/", NEW)
    assert answer.status_code == 400
    assert "at most 0 endpoints" in text_of(answer)
    assert Endpoint.unscoped.count() == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "ftp://x"}, "Not allowed"),
        ({"url": "http://169.254.169.254/"}, "Not allowed"),
        ({"url": ""}, "required"),
        ({"events": "not a type"}, "Write an event type"),
        ({"events": " \n"}, "required"),
        ({"headers": "no colon"}, "Name: value"),
        ({"headers": "Host: x"}, "reserved"),
        ({"headers": "X-A: •••• kept"}, "no stored value"),
        ({"name": "x" * 101}, "at most 100"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(wrong: dict[str, str], says: str, jane: Client) -> None:
    answer = jane.post("/portal/endpoints/new/", {**NEW, **wrong})
    assert answer.status_code == 400
    assert says in text_of(answer)
    assert not Endpoint.unscoped.exists()


def test_an_endpoint_is_changed_and_masked_headers_stay(jane: Client, endpoint: Endpoint) -> None:
    jane.post(at(endpoint, "edit/"), {**NEW, "headers": "X-Secret: 0123456789abcdef"})
    shown = text_of(jane.get(at(endpoint, "edit/")))
    assert "0123456789abcdef" not in shown
    masked = re.search(r"X-Secret: (\S+)", shown)
    assert masked is not None
    answer = jane.post(at(endpoint, "edit/"), {**NEW, "name": "Till", "headers": f"X-Secret: {masked[1]}\nX-New: 2"})
    assert answer.status_code == 302
    assert "Saved." in text_of(jane.get(answer.url))
    endpoint.refresh_from_db()
    assert endpoint.name == "Till"
    assert endpoint.headers() == {"X-Secret": "0123456789abcdef", "X-New": "2"}
    moved = {**NEW, "url": "https://evil.example/hook", "headers": f"X-Secret: {masked[1]}"}
    refused = jane.post(at(endpoint, "edit/"), moved)
    assert (refused.status_code, "Enter the headers again" in text_of(refused)) == (400, True)
    endpoint.refresh_from_db()
    assert endpoint.url == NEW["url"]
    assert jane.post(at(endpoint, "edit/"), {**moved, "headers": "X-Secret: another one"}).status_code == 302


def test_rotating_overlaps_and_pressing_twice_rotates_once(jane: Client, endpoint: Endpoint, clock: MovableClock) -> None:
    (old,) = keys(endpoint)
    asked = {**FOR, "scheme": "v1", "overlap": "86400", "newest": old["id"]}
    answer = jane.post(at(endpoint, "rotate/"), asked)
    new, kept = keys(endpoint)
    assert new["secret"] in text_of(answer)
    assert old["secret"] not in text_of(answer)
    assert kept["expires_at"] == (clock() + timedelta(days=1)).isoformat()
    again = jane.post(at(endpoint, "rotate/"), asked)
    assert (again.status_code, len(keys(endpoint))) == (400, 2)
    assert new["secret"] not in text_of(again)


def test_of_an_ed25519_key_only_the_public_half_is_shown(jane: Client, endpoint: Endpoint) -> None:
    newest = keys(endpoint)[0]["id"]
    answer = jane.post(at(endpoint, "rotate/"), {**FOR, "scheme": "v1a", "overlap": "3600", "newest": newest})
    private = keys(endpoint)[0]["secret"]
    public = re.search(r"whpk_[A-Za-z0-9+/=]+", text_of(answer))
    assert public is not None
    assert private not in text_of(answer)
    for page in ("", "verify/"):
        assert public[0] in text_of(jane.get(at(endpoint, page)))


@pytest.mark.parametrize("wrong", [{"overlap": "1"}, {"scheme": "none"}, {"overlap": ""}])
def test_a_strange_rotation_is_refused(wrong: dict[str, str], jane: Client, endpoint: Endpoint) -> None:
    newest = keys(endpoint)[0]["id"]
    asked = {**FOR, "scheme": "v1", "overlap": "0", "newest": newest, **wrong}
    assert jane.post(at(endpoint, "rotate/"), asked).status_code == 400
    assert [key["id"] for key in keys(endpoint)] == [newest]


@pytest.mark.parametrize(("held", "becomes"), [("send", "pending"), ("discard", "failed")])
def test_switching_off_holds_and_switching_on_asks(held: str, becomes: str, jane: Client, endpoint: Endpoint) -> None:
    delivery = factories.make_delivery(endpoint)
    jane.post(at(endpoint, "switch/"), {**FOR, "to": "off"})
    delivery.refresh_from_db()
    assert delivery.state == DeliveryState.HELD
    assert "1 delivery is held" in text_of(jane.get(at(endpoint)))
    jane.post(at(endpoint, "switch/"), {**FOR, "to": "on", "held": held})
    delivery.refresh_from_db()
    endpoint.refresh_from_db()
    assert (delivery.state, endpoint.is_active) == (becomes, True)


def test_deleting_asks_once_more(jane: Client, endpoint: Endpoint) -> None:
    assert "can't be undone" in text_of(jane.get(at(endpoint, "delete/")))
    endpoint.refresh_from_db()
    assert endpoint.deleted_at is None
    answer = jane.post(at(endpoint, "delete/"), FOR)
    assert "was deleted" in text_of(jane.get(answer.url))
    assert jane.get(at(endpoint)).status_code == 404


def test_a_test_event_leads_to_its_delivery(jane: Client, endpoint: Endpoint) -> None:
    answer = jane.post(at(endpoint, "test/"), FOR)
    delivery = Delivery.unscoped.get()
    assert answer.url == at(endpoint, f"deliveries/{delivery.pk}/?done=test")
    assert jane.post(at(endpoint, "test/"), FOR).url == answer.url, "pressed twice, it is sent once"
    Delivery.unscoped.update(state="failed")
    assert jane.post(at(endpoint, "test/"), FOR).url != answer.url
    assert "webhook.test" in text_of(jane.get(answer.url))
    jane.post(at(endpoint, "switch/"), {**FOR, "to": "off"})
    refused = jane.post(at(endpoint, "test/"), FOR)
    assert (refused.status_code, Delivery.unscoped.count()) == (409, 2)
    assert "switched off" in text_of(refused)


def test_a_delivery_shows_request_and_answer_and_is_sent_again(jane: Client, endpoint: Endpoint) -> None:
    dead = make_dead(endpoint, request_headers={"webhook-id": "evt_1"}, response_headers={"server": "tills/1"})
    shown = text_of(jane.get(at(endpoint, f"deliveries/{dead.pk}/")))
    for part in (
        "webhook-id: evt_1",
        "server: tills/1",
        "no &lt;b&gt;luck",
        "HTTP 500",
        "&quot;pay_1&quot;",
        "All tries failed",
    ):
        assert part in shown, part
    answer = jane.post(at(endpoint, f"deliveries/{dead.pk}/resend/"), FOR)
    assert answer.status_code == 302
    dead.refresh_from_db()
    assert (dead.state, dead.attempts_allowed) == ("pending", 2)


def test_the_part_that_is_refreshed_says_when_there_is_nothing_to_wait_for(jane: Client, endpoint: Endpoint) -> None:
    waits, dead = factories.make_delivery(endpoint), make_dead(endpoint)
    part = {"HX-Request": "true"}
    assert jane.get(at(endpoint, f"deliveries/{waits.pk}/"), headers=part).status_code == 200
    answer = jane.get(at(endpoint, f"deliveries/{dead.pk}/"), headers=part)
    assert answer.status_code == 286
    assert "<html" not in text_of(answer)
    assert "<html" not in text_of(jane.get(at(endpoint, "deliveries/"), headers=part))
    assert Client().get(at(endpoint), headers=part).headers["HX-Redirect"].startswith("/staff/login/?next=")


def test_deliveries_are_filtered_and_paged(jane: Client, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.outbound.portal.deliveries.ROWS", 2)
    made = [factories.make_delivery(endpoint) for _ in range(5)]
    dead = make_dead(endpoint)
    seen: list[str] = []
    address = at(endpoint, "deliveries/")
    while address:
        text = text_of(jane.get(address))
        seen += re.findall(r"dlv_[0-9a-z]{26}(?=/\")", text)
        older = re.search(r'href="(\?[^"]*before=[^"]+)">Older', text)
        factories.make_delivery(endpoint)  # arrives meanwhile, and moves nothing
        address = at(endpoint, f"deliveries/{older[1].replace('&amp;', '&')}") if older else ""
    assert seen == [each.pk for each in (dead, *reversed(made))]
    only = text_of(jane.get(at(endpoint, "deliveries/?state=failed&type=payment.completed")))
    assert re.findall(r"dlv_[0-9a-z]{26}(?=/\")", only) == [dead.pk]
    assert "Nothing here" in text_of(jane.get(at(endpoint, "deliveries/?type=other")))
    assert "Nothing here" in text_of(jane.get(at(endpoint, "deliveries/?until=2001-01-01T00:00:00")))
    wrong = jane.get(at(endpoint, "deliveries/?state=nonsense&since=yesterday&before=zzz"))
    assert wrong.status_code == 200
    assert "Enter a valid date" in text_of(wrong)


def test_a_page_with_conditions_looks_so_far_and_says_so(
    jane: Client, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.outbound.portal.deliveries.LOOKED_AT", 3)
    dead = make_dead(endpoint)
    for _ in range(5):
        factories.make_delivery(endpoint)
    text = text_of(jane.get(at(endpoint, "deliveries/?state=failed")))
    assert "Nothing among 3 deliveries" in text
    assert dead.pk not in text
    older = re.search(r'href="(\?[^"]*before=[^"]+)">Older', text)
    assert older is not None
    text = text_of(jane.get(at(endpoint, f"deliveries/{older[1].replace('&amp;', '&')}")))
    assert dead.pk in text
    assert "Older" not in text


def test_dead_letters_are_chosen_and_sent_again(jane: Client, endpoint: Endpoint) -> None:
    one, other = make_dead(endpoint), make_dead(endpoint)
    shown = text_of(jane.get("/portal/dead-letters/"))
    assert one.pk in shown
    assert other.pk in shown
    assert "None." in text_of(jane.get("/portal/dead-letters/?reason=gone"))
    answer = jane.post("/portal/dead-letters/resend/", {**FOR, "delivery": [one.pk]})
    assert answer.status_code == 302
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.state, other.state) == ("pending", "failed")
    for chosen in ([], ["dlv_\x00"], ["nonsense", f"{other.pk}\x00", ""]):
        assert jane.post("/portal/dead-letters/resend/", {**FOR, "delivery": chosen}).status_code == 409
    jane.post(at(endpoint, "switch/"), {**FOR, "to": "off"})
    refused = jane.post("/portal/dead-letters/resend/", {**FOR, "delivery": [other.pk]})
    assert (refused.status_code, "switched off" in text_of(refused)) == (409, True)


def test_recovering_counts_then_starts_and_can_be_cancelled(jane: Client, endpoint: Endpoint) -> None:
    for _ in range(3):
        make_dead(endpoint)
    asked = {**FOR, "mode": "failed", "since": "2026-01-01T00:00:00", "until": "", "types": "payment.*"}
    since = (make_dead(endpoint).created - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
    asked["since"] = since
    counted = text_of(jane.post(at(endpoint, "recover/"), {**asked, "action": "count"}))
    assert "<strong>4 events</strong>" in counted
    assert "4 payment.completed" in counted
    assert not Replay.unscoped.exists()
    answer = jane.post(at(endpoint, "recover/"), {**asked, "action": "start"})
    replay = Replay.unscoped.get()
    assert answer.url == at(endpoint, f"recover/{replay.pk}/")
    assert (replay.total, replay.types, replay.requested_by) == (4, ["payment.*"], "jane")
    assert "0 of 4 queued" in text_of(jane.get(answer.url))
    second = jane.post(at(endpoint, "recover/"), {**asked, "action": "start"})
    assert (second.status_code, "is running" in text_of(second)) == (400, True)
    jane.post(at(endpoint, f"recover/{replay.pk}/cancel/"), FOR)
    replay.refresh_from_db()
    assert replay.state == "cancelled"
    assert replay.pk in text_of(jane.get(at(endpoint, "recover/")))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"since": ""}, "required"),
        ({"since": "2999-01-01T00:00:00"}, "lies ahead"),
        ({"until": "2001-01-01T00:00:00"}, "ends before it begins"),
        ({"mode": "nonsense"}, "valid choice"),
        ({"types": "No Type"}, "no event type"),
    ],
)
@pytest.mark.usefixtures("clock")  # since then is no more than ninety days ago
def test_a_strange_window_is_refused(wrong: dict[str, str], says: str, jane: Client, endpoint: Endpoint) -> None:
    asked = {**FOR, "mode": "failed", "since": "2026-11-01T00:00:00", "until": "", "types": "", "action": "start", **wrong}
    answer = jane.post(at(endpoint, "recover/"), asked)
    assert answer.status_code == 400
    assert says in text_of(answer)
    assert not Replay.unscoped.exists()


def test_the_catalogue_shows_schema_and_example(jane: Client, tenant: Tenant, other_tenant: Tenant) -> None:
    EventTypeDefinition.unscoped.create(
        tenant=tenant, name="till.opened", description="Ours <i> of `<till>` and `", example={"id": "till-9"}
    )
    EventTypeDefinition.unscoped.create(tenant=other_tenant, name="theirs.only")
    listed = text_of(jane.get("/portal/events/"))
    assert "payment.completed" in listed
    assert "Ours &lt;i&gt; of <code>&lt;till&gt;</code> and " in listed
    assert "theirs.only" not in listed
    shown = text_of(jane.get("/portal/events/payment.completed/"))
    assert "draft/2020-12" in shown
    assert "&quot;amount_captured&quot;" in shown
    assert "till-9" in text_of(jane.get("/portal/events/till.opened/"))
    assert jane.get("/portal/events/theirs.only/").status_code == 404


def test_links_are_handed_out_and_revoked(jane: Client, tenant: Tenant, endpoint: Endpoint) -> None:
    asked = {**FOR, "label": "Ann", "endpoint": endpoint.pk, "expires_in": "900", "frame_ancestors": "https://app.example"}
    shown = text_of(jane.post("/portal/links/", asked))
    path = re.search(r"/portal/l/plt_[\w-]{43}/", shown)
    assert path is not None
    link = PortalLink.unscoped.get()
    assert (link.endpoint_id, link.frame_ancestors, link.created_by) == (endpoint.pk, ["https://app.example"], "jane")
    assert Client().get(path[0]).status_code == 200
    assert path[0] not in text_of(jane.get("/portal/links/"))
    assert jane.post(f"/portal/links/{link.pk}/revoke/", FOR).status_code == 302
    assert Client().get(path[0]).status_code == 404
    assert jane.post("/portal/links/", {**asked, "frame_ancestors": "https://*.example"}).status_code == 400


@pytest.mark.usefixtures("clock")  # since then is no more than ninety days ago
def test_what_is_done_is_written_down_under_the_visitors_name(jane: Client, tenant: Tenant, endpoint: Endpoint) -> None:
    link, path = make_link(tenant, can_write=True)
    revoked, _path = make_link(tenant)
    jane.post(f"/portal/links/{revoked.pk}/revoke/", FOR)
    assert AuditEntry.unscoped.get(action="portal_link.revoked").actor == "jane"
    make_dead(endpoint)
    asked = {"mode": "failed", "since": "2026-11-01T00:00:00", "until": "", "types": "", "action": "start"}
    assert Client().post(f"{path}endpoints/{endpoint.pk}/recover/", asked).status_code == 302
    assert AuditEntry.unscoped.get(action="endpoint.replayed").actor == f"portal link {link.pk}"


def test_an_auditor_reads_and_sees_no_token_in_a_url(logged_in: MakeClient, tenant: Tenant) -> None:
    auditor = logged_in(Role.AUDITOR, name="audrey")
    endpoint = factories.make_endpoint(tenant, url="http://u:pw-77@127.0.0.1:8999/x?key=t0ken&plain#frag")
    dead = make_dead(endpoint)
    for page in ("", "deliveries/", f"deliveries/{dead.pk}/", "verify/", "recover/"):
        answer = auditor.get(at(endpoint, page))
        assert answer.status_code == 200
        text = text_of(answer)
        assert re.findall(r'<form method="post" action="(?!/staff/logout/)', text) == []
        assert "t0ken" not in text
        assert "pw-77" not in text
    assert auditor.get(at(endpoint, "edit/")).status_code == 404
    assert auditor.get("/portal/endpoints/new/").status_code == 403
    assert auditor.get("/portal/links/").status_code == 403
