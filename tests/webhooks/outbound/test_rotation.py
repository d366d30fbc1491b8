"""Secrets that change: both sign for the overlap, the old one stops right after it, and either scheme may follow the other."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import svix.webhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django_scopes import scope
from rest_framework.test import APIClient
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from integrations.contracts import clock as hub_clock
from integrations.models import AuditEntry, Role, Tenant
from tests.factories import MovableClock, make_client, make_tenant
from tests.webhooks.outbound.conftest import MakeEndpoint, Received, Receiver, deliver, publish
from webhooks.outbound import signing
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Endpoint

pytestmark = pytest.mark.django_db

# Known answers: the HMAC one of the reference libraries, the ed25519 one recomputed with an unrelated library.
MESSAGE, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), '{"test": 2432232314}'
HMAC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HMAC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
ED25519_SECRET = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ED25519_SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()


@pytest.fixture
def school(db: None) -> Tenant:
    return make_tenant("school")


@pytest.fixture
def api(school: Tenant) -> APIClient:
    return make_client(school)


def url_of(endpoint: Endpoint, what: str = "rotate-secret") -> str:
    return f"/api/webhooks/{endpoint.pk}/{what}"


def verifies(secret: str, received: Received) -> bool:
    """Tell whether a receiver with this secret takes the request: by both client libraries, which must agree."""
    body = received.body.decode()
    # The libraries ask for the real time; what is stopped here is the hub's, so they are told by the header.
    answers = []
    for library in (Webhook, svix.webhooks.Webhook):
        checker = library(secret)
        at = datetime.fromtimestamp(int(received.headers["webhook-timestamp"]), UTC)
        expected = checker.sign(received.headers["webhook-id"], at, body)
        answers.append(expected in received.headers["webhook-signature"].split(" "))
    assert len(set(answers)) == 1
    return answers[0]


def verifies_public(key: str, received: Received) -> bool:
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_")))
    content = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    for signature in received.headers["webhook-signature"].split(" "):
        scheme, _, encoded = signature.partition(",")
        if scheme == "v1a":
            try:
                public.verify(base64.b64decode(encoded), content)
            except InvalidSignature:
                continue
            return True
    return False


def test_known_answers_of_both_schemes() -> None:
    headers = signing.signed_headers([HMAC_SECRET, ED25519_SECRET], message_id=MESSAGE, at=AT, body=BODY)
    assert headers["webhook-signature"] == f"{HMAC_SIGNATURE} {ED25519_SIGNATURE}"
    assert signing.check_secret(HMAC_SECRET) == "v1"
    assert signing.check_secret(ED25519_SECRET) == "v1a"
    assert signing.public_key(ED25519_SECRET) == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
    seed_only = "whsk_" + base64.b64encode(base64.b64decode(ED25519_SECRET[5:])[:32]).decode()
    assert signing.signed_headers([seed_only], message_id=MESSAGE, at=AT, body=BODY)["webhook-signature"] == ED25519_SIGNATURE


@pytest.mark.parametrize("library", [Webhook, svix.webhooks.Webhook])
def test_what_we_sign_now_is_taken_by_the_client_libraries(library: Any) -> None:
    secret = signing.new_secret()
    keys = [signing.new_secret("v1a"), secret]
    headers = signing.signed_headers(keys, message_id=MESSAGE, at=datetime.now(UTC), body=BODY)
    library(secret).verify(BODY, headers)
    with pytest.raises((WebhookVerificationError, svix.webhooks.WebhookVerificationError)):
        library(signing.new_secret()).verify(BODY, headers)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!!!!",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsk_" + base64.b64encode(b"x" * 31).decode(),
        "whsk_" + base64.b64encode(b"x" * 64).decode(),
        "whpk_" + base64.b64encode(b"x" * 32).decode(),
        base64.b64encode(b"x" * 32).decode(),
        "whsec_\u00e9",
    ],
)
def test_secrets_that_cant_sign(api: APIClient, school: Tenant, make_endpoint: MakeEndpoint, secret: str) -> None:
    endpoint, _ = make_endpoint(school)
    before = Endpoint.unscoped.values().get()
    for route, body in (
        (url_of(endpoint), {"secret": secret}),
        ("/api/webhooks", {"url": "https://school.example/hook", "events": ["*"], "secret": secret}),
    ):
        answer = api.post(route, body, format="json")
        assert answer.status_code == 400, answer.content
        assert [error["attr"] for error in answer.json()["errors"]] == ["secret"]
    assert Endpoint.unscoped.values().get() == before


@pytest.mark.django_db(transaction=True)
def test_both_secrets_sign_for_the_overlap_and_the_old_one_stops_right_after(
    api: APIClient, school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, old = make_endpoint(school)
    answer = api.post(url_of(endpoint), {"overlap_seconds": 3600, "secret": OTHER_SECRET}, format="json")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["secret"], body["scheme"]) == (OTHER_SECRET, "v1")
    assert datetime.fromisoformat(body["overlap_until"]) == clock() + timedelta(hours=1)
    for key, seconds in (("k1", 0), ("k2", 3599), ("k3", 1)):
        clock.advance(seconds)
        publish(school, key)
        deliver()
    assert [(verifies(old, each), verifies(OTHER_SECRET, each)) for each in receiver.requests] == [
        (True, True),
        (True, True),
        (False, True),
    ]
    shown = api.get(f"/api/webhooks/{endpoint.pk}")
    assert [key["id"] for key in shown.json()["signing"]] == [body["id"]]
    assert old not in shown.content.decode() + OTHER_SECRET
    entry = AuditEntry.unscoped.get(action="endpoint.secret_rotated")
    assert (entry.object_id, entry.changes["overlap_seconds"]) == (endpoint.pk, [None, 3600])
    assert OTHER_SECRET not in str(entry.changes)


@pytest.mark.django_db(transaction=True)
def test_without_an_overlap_the_old_secret_stops_at_once(
    api: APIClient, school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, old = make_endpoint(school)
    new = api.post(url_of(endpoint), {"overlap_seconds": 0}, format="json").json()
    assert new["overlap_until"] is None
    publish(school)
    deliver()
    [request] = receiver.requests
    assert (verifies(old, request), verifies(new["secret"], request)) == (False, True)


@pytest.mark.django_db(transaction=True)
def test_ed25519_follows_hmac_and_back_with_both_signatures(
    api: APIClient, school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, hmac = make_endpoint(school)
    assert APIClient().get(url_of(endpoint, "public-keys")).status_code == 404
    made = api.post(url_of(endpoint), {"scheme": "v1a"}, format="json").json()
    assert (made["scheme"], made["secret"][:5]) == ("v1a", "whsk_")
    answer = APIClient().get(url_of(endpoint, "public-keys"))
    assert answer.status_code == 200
    [public] = answer.json()["keys"]
    assert (public["id"], public["scheme"], public["expires_at"]) == (made["id"], "v1a", None)
    assert made["secret"] not in answer.content.decode()
    publish(school)
    deliver()
    assert (verifies(hmac, receiver.requests[0]), verifies_public(public["public_key"], receiver.requests[0])) == (True, True)

    clock.advance(days=2)
    back = api.post(url_of(endpoint), {"scheme": "v1", "overlap_seconds": 60}, format="json").json()
    publish(school, "k2")
    deliver()
    request = receiver.requests[1]
    assert verifies(back["secret"], request)
    assert verifies_public(public["public_key"], request)
    assert not verifies(hmac, request)
    [still] = APIClient().get(url_of(endpoint, "public-keys")).json()["keys"]
    assert still["expires_at"] is not None
    clock.advance(60)
    assert APIClient().get(url_of(endpoint, "public-keys")).status_code == 404


def test_the_scheme_stays_where_none_is_named(api: APIClient, school: Tenant) -> None:
    made = api.post("/api/webhooks", {"url": "https://a.example/x", "events": ["*"], "scheme": "v1a"}, format="json").json()
    assert made["secret"].startswith("whsk_")
    assert [key["scheme"] for key in made["signing"]] == ["v1a"]
    again = api.post(f"/api/webhooks/{made['id']}/rotate-secret", {}, format="json").json()
    assert again["scheme"] == "v1a"
    assert len(APIClient().get(f"/api/webhooks/{made['id']}/public-keys").json()["keys"]) == 2


def test_the_public_keys_of_nothing_are_404(school: Tenant, make_endpoint: MakeEndpoint, api: APIClient) -> None:
    endpoint, _ = make_endpoint(school, scheme="v1a")
    assert APIClient().get(url_of(endpoint, "public-keys")).status_code == 200
    assert APIClient().get(f"/api/webhooks/we_{'0' * 26}/public-keys").status_code == 404
    api.delete(f"/api/webhooks/{endpoint.pk}")
    assert APIClient().get(url_of(endpoint, "public-keys")).status_code == 404


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"overlap_seconds": -1}, "overlap_seconds"),
        ({"overlap_seconds": 7 * 86_400 + 1}, "overlap_seconds"),
        ({"overlap_seconds": "soon"}, "overlap_seconds"),
        ({"scheme": "v2"}, "scheme"),
        ({"scheme": "v1a", "secret": OTHER_SECRET}, "scheme"),
        ({"algorithm": "v1"}, "algorithm"),
    ],
)
def test_bad_rotations_change_nothing(
    api: APIClient, school: Tenant, make_endpoint: MakeEndpoint, body: dict[str, Any], attr: str
) -> None:
    endpoint, _ = make_endpoint(school)
    before = Endpoint.unscoped.values().get()
    answer = api.post(url_of(endpoint), body, format="json")
    assert (answer.status_code, [error["attr"] for error in answer.json()["errors"]]) == (400, [attr])
    assert Endpoint.unscoped.values().get() == before


def test_a_secret_in_use_and_too_many_keys_are_refused(
    api: APIClient, school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school, secret=OTHER_SECRET)
    answer = api.post(url_of(endpoint), {"secret": OTHER_SECRET}, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "secret")
    for _ in range(signing.MAX_KEYS - 1):
        assert api.post(url_of(endpoint), {}, format="json").status_code == 200
    answer = api.post(url_of(endpoint), {}, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "overlap_seconds")
    clock.advance(days=1)
    assert api.post(url_of(endpoint), {}, format="json").status_code == 200
    assert len(Endpoint.unscoped.get().signing_keys()) == 2


@pytest.mark.django_db(transaction=True)
def test_keys_that_cant_be_opened_can_be_replaced(
    api: APIClient, school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    Endpoint.unscoped.filter(pk=endpoint.pk).update(sealed_secrets="gone.AAAA")
    assert api.get(f"/api/webhooks/{endpoint.pk}").json()["signing"] is None
    assert APIClient().get(url_of(endpoint, "public-keys")).status_code == 404
    new = api.post(url_of(endpoint), {}, format="json").json()["secret"]
    publish(school)
    deliver()
    assert verifies(new, receiver.requests[0])


def test_a_repeated_request_rotates_once(api: APIClient, school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    first, second = (api.post(url_of(endpoint), {}, format="json", headers={"Idempotency-Key": "r1"}) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(Endpoint.unscoped.get().signing_keys()) == 2


def test_an_auditor_cant_rotate(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    assert make_client(school, Role.AUDITOR).post(url_of(endpoint), {}, format="json").status_code == 403
    assert make_client(school, scopes=["webhooks:read"]).post(url_of(endpoint), {}, format="json").status_code == 403
    with scope(tenant=school):
        [key] = Endpoint.objects.get().signing_keys()
    assert key["expires_at"] is None


def test_rotating_again_shortens_no_overlap_and_lengthens_none(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    now = hub_clock.now()
    with hub_clock.stopped_at(now), scope(tenant=school):
        services.rotate_secret(endpoint_id=endpoint.pk, overlap=timedelta(hours=1))
        services.rotate_secret(endpoint_id=endpoint.pk, overlap=timedelta(days=1))
    ends = [key["expires_at"] for key in Endpoint.unscoped.get().signing_keys()]
    assert ends == [None, (now + timedelta(days=1)).isoformat(), (now + timedelta(hours=1)).isoformat()]
