"""What an API key is let in by: its hash, its addresses, one header, and its rate, exact however many ask at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from integrations.models import ApiKey, ApiKeyUsage, Role, Tenant
from integrations.tenancy import throttles
from integrations.tenancy.authentication import create_api_key
from integrations.tenancy.network import are_covered, is_listed, normal_network
from integrations.tenancy.scopes import OWNER, Grant
from tests.factories import MovableClock

PAYMENTS = "/api/v1/payments"


def ask(value: str, **extra: Any) -> Any:
    return APIClient().get(PAYMENTS, headers={"Authorization": f"Bearer {value}"}, **extra)


def codes(answer: Any) -> list[str]:
    return [error["code"] for error in answer.json()["errors"]]


# --- one credential


@pytest.mark.django_db
def test_two_headers_must_hold_one_key(tenant: Tenant) -> None:
    (_one, first), (_two, second) = (create_api_key(tenant=tenant, name=name) for name in ("a", "b"))
    same = APIClient().get(PAYMENTS, headers={"Authorization": f"Bearer {first}", "X-API-Key": first})
    assert same.status_code == 200
    for other in (second, "hub_" + "0" * 40):
        answer = APIClient().get(PAYMENTS, headers={"Authorization": f"Bearer {first}", "X-API-Key": other})
        assert (answer.status_code, codes(answer)) == (400, ["two_credentials"])
    assert not ApiKeyUsage.unscoped.exclude(key=_one).exists()


@pytest.mark.django_db
def test_a_key_is_looked_up_by_its_hash_alone(tenant: Tenant) -> None:
    _row, value = create_api_key(tenant=tenant, name="sis")
    for tried in (value, value[:-1] + "x", value.upper(), f"{value} ", "hub_é", "x" * 5000):
        with CaptureQueriesContext(connection) as queries:
            ask(tried.strip())
        assert all(value not in each["sql"] and tried[:40] not in each["sql"] for each in queries)
    assert ask(value.upper()).status_code == 401


# --- addresses


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("allowed", "address", "status"),
    [
        ([], "203.0.113.9", 200),
        (["203.0.113.9"], "203.0.113.9", 200),
        (["203.0.113.0/24"], "203.0.113.9", 200),
        (["203.0.113.0/24"], "::ffff:203.0.113.9", 200),
        (["::ffff:203.0.113.0/120"], "203.0.113.9", 200),
        (["2001:db8::/32"], "2001:db8::7", 200),
        (["203.0.113.0/24"], "203.0.114.9", 403),
        (["2001:db8::/32"], "203.0.113.9", 403),
        (["203.0.113.0/24"], "", 403),
        (["rubbish"], "203.0.113.9", 403),
    ],
)
def test_a_key_works_from_its_addresses(allowed: list[str], address: str, status: int, tenant: Tenant) -> None:
    row, value = create_api_key(tenant=tenant, name="sis", allowed_ips=allowed)
    answer = ask(value, REMOTE_ADDR=address)
    assert answer.status_code == status
    fresh = ApiKey.unscoped.get(pk=row.pk)
    if status == 403:
        assert codes(answer) == ["ip_not_allowed"]
        assert (fresh.last_used_at, fresh.last_used_ip) == (None, None)
    else:
        assert fresh.last_used_ip == address.removeprefix("::ffff:")


@pytest.mark.django_db
def test_a_forwarded_address_is_believed_as_far_as_our_proxies_go(tenant: Tenant, settings: Any) -> None:
    _row, value = create_api_key(tenant=tenant, name="sis", allowed_ips=["203.0.113.9"])
    forged = {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "REMOTE_ADDR": "198.51.100.1"}
    assert ask(value, **forged).status_code == 403
    settings.TRUSTED_PROXY_HOPS = 1
    assert ask(value, **forged).status_code == 200
    for spelling in ("203.0.113.9:443", "::ffff:203.0.113.9", "[::ffff:203.0.113.9]:443"):
        assert ask(value, HTTP_X_FORWARDED_FOR=spelling).status_code == 200
    assert ask(value, HTTP_X_FORWARDED_FOR="203.0.113.9, 198.51.100.7").status_code == 403
    assert ask(value, HTTP_X_FORWARDED_FOR="unknown").status_code == 403
    ApiKey.unscoped.update(allowed_ips=[])
    assert ask(value, HTTP_X_FORWARDED_FOR="unknown").status_code == 200


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        (" 10.0.0.1 ", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::/0", "::/0"),
    ],
)
def test_networks_have_one_form(given: str, normal: str) -> None:
    assert normal_network(given) == normal
    assert is_listed("10.0.0.1", [normal]) is ("." in normal)


@pytest.mark.parametrize("given", ["", "x", "10.0.0.1/8", "10.0.0", "10.0.0.0/33", "1" * 300, "::1%eth0/64"])
def test_what_is_no_network_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="no address or network"):
        normal_network(given)


def test_covering() -> None:
    assert are_covered(["10.1.0.0/16", "10.0.0.1"], ["10.0.0.0/8"])
    assert not are_covered(["10.0.0.0/8"], ["10.0.0.0/9", "10.128.0.0/9"]), "no network alone holds it"
    assert not are_covered(["::/0"], ["0.0.0.0/0"])


# --- what may be handed on


@pytest.mark.parametrize(("mine", "theirs"), [(mine, theirs) for mine in Role.values for theirs in Role.values])
def test_roles_within_roles(mine: str, theirs: str) -> None:
    within = Grant(mine).excess(Grant(theirs)) == ""
    assert within is (mine in (Role.ADMIN, theirs))
    assert OWNER.excess(Grant(theirs, rate_per_minute=10**6)) == ""


# --- the rate


@pytest.mark.django_db
def test_a_keys_own_rate_goes_before_the_installations(tenant: Tenant, clock: MovableClock, settings: Any) -> None:
    settings.API_RATE_PER_MINUTE = 4
    _row, low = create_api_key(tenant=tenant, name="low", rate_per_minute=2)
    _row, high = create_api_key(tenant=tenant, name="high", rate_per_minute=6)
    answers = [ask(low) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert [each["RateLimit-Limit"] for each in answers] == ["2"] * 3
    assert [each["RateLimit-Remaining"] for each in answers] == ["1", "0", "0"]
    assert (answers[2]["Retry-After"], answers[2]["RateLimit-Reset"]) == ("30", "30")
    assert [ask(high).status_code for _ in range(7)] == [200] * 6 + [429]
    clock.advance(30)
    assert [ask(low).status_code for _ in range(2)] == [200, 429]


@pytest.mark.django_db
def test_what_is_forbidden_counts_too(tenant: Tenant, clock: MovableClock) -> None:
    _row, value = create_api_key(tenant=tenant, name="sis", rate_per_minute=3, scopes=["messages:read"])
    answers = [ask(value) for _ in range(4)]
    assert [each.status_code for each in answers] == [403] * 3 + [429]
    assert answers[0]["RateLimit-Remaining"] == "2"


@pytest.mark.django_db
def test_refused_credentials_are_counted_by_address(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttles, "REFUSED_PER_MINUTE", 4)
    _row, value = create_api_key(tenant=tenant, name="sis")
    _row, elsewhere = create_api_key(tenant=tenant, name="sis", allowed_ips=["203.0.113.9"])
    answers = [ask(tried, REMOTE_ADDR=f"2001:db8::{n:x}") for n, tried in enumerate(["x", elsewhere, "z", "x", "x", elsewhere])]
    assert [each.status_code for each in answers] == [401, 403, 401, 401, 429, 429]
    assert answers[-1]["Retry-After"] == "15"
    assert ask("x", REMOTE_ADDR="2001:db8:0:1::1").status_code == 401, "another network"
    assert ask(value, REMOTE_ADDR="2001:db8::1").status_code == 200, "a good key is never held back"
    assert APIClient().get(PAYMENTS, REMOTE_ADDR="2001:db8::1").status_code == 401, "without any there is nothing to guess"
    clock.advance(15)
    assert ask("x", REMOTE_ADDR="2001:db8::1").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_the_rate_is_exact_and_every_request_counted_however_many_ask_at_once(tenant: Tenant, clock: MovableClock) -> None:
    row, value = create_api_key(tenant=tenant, name="sis", rate_per_minute=7)
    started, found, lock = threading.Barrier(4), [], threading.Lock()

    def work() -> None:
        started.wait(60)
        try:
            mine = [ask(value).status_code for _ in range(5)]
        finally:
            connection.close()
        with lock:
            found.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(timeout=60)
    assert sorted(found) == [200] * 7 + [429] * 13
    counted = ApiKeyUsage.unscoped.get(key=row)
    assert (counted.count, counted.errors) == (20, 13)
