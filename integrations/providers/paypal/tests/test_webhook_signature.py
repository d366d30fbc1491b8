"""Who may speak for PayPal: signatures, certificates, and the places that certificates may come from."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import ProviderUnavailable
from integrations.contracts.inbound import BadSignature, InboundRequest, Trust, Verified
from integrations.providers.paypal import certificates, signature
from integrations.providers.paypal.tests.hub import Hub
from integrations.providers.paypal.tests.signing import (
    HOST,
    NAME,
    TRANSMISSION,
    URL,
    WEBHOOK,
    Authority,
    Pair,
    pem,
    signed,
)
from integrations.providers.paypal.tests.support import FIXTURES, NOW, fixture, view
from integrations.providers.paypal.webhook import PaypalWebhook


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


@pytest.fixture(scope="module")
def leaf(authority: Authority) -> Pair:
    return authority.leaf()


@pytest.fixture(autouse=True)
def _world(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tests' authority is the one public authority, and it is July 2026."""
    monkeypatch.setattr(certificates, "public_roots", lambda: (authority.certificate,))
    with clock.stopped_at(NOW):
        yield


class Shelf:
    """What PayPal's host serves, by URL; keeps what was asked for."""

    def __init__(self, **pems: bytes) -> None:
        self.pems: dict[str, bytes] = {URL: b"", **pems}
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.pems:
            raise ProviderUnavailable("No connection to the provider could be made.")
        return self.pems[url]


def shelf(*chain: Any) -> Shelf:
    found = Shelf()
    found.pems[URL] = pem(*chain)
    return found


def verify(request: InboundRequest, fetch: Callable[[str], bytes], config: ConfigView | None = None) -> Verified:
    return PaypalWebhook(fetch).verify(request, config or view(), by_token=True)


def test_the_published_vector() -> None:
    body = (FIXTURES / "event_sale_completed.json").read_bytes()
    assert len(body) == 1288
    found = signature.Transmission(TRANSMISSION, "2015-05-18T15:45:13Z", b"", "")
    expected = b"dfb3be50-fd74-11e4-8bf3-77339302725b|2015-05-18T15:45:13Z|4JH86294D6297924G|2771810304"
    assert signature.message(found, WEBHOOK, body) == expected


def test_a_good_signature(authority: Authority, leaf: Pair) -> None:
    verified = verify(signed(leaf[0]), shelf(leaf[1], authority.certificate))
    assert verified.trust is Trust.SIGNED
    assert verified.dedupe_key == "WH-2CL46544TB770421K-5VB92446WP7345818:signed"
    assert verified.provider_event_type == "PAYMENT.CAPTURE.COMPLETED"
    assert verify(signed(leaf[0]), shelf(leaf[1])).trust is Trust.SIGNED, "signed by a known authority itself"


def test_a_certificate_is_fetched_once(leaf: Pair) -> None:
    found = shelf(leaf[1])
    webhook = PaypalWebhook(found)
    for _ in range(3):
        webhook.verify(signed(leaf[0]), view(), by_token=False)
    assert found.asked == [URL]


def test_one_that_could_not_be_fetched_is_fetched_again(leaf: Pair) -> None:
    found = shelf(leaf[1])
    kept = found.pems.pop(URL)
    webhook = PaypalWebhook(found)
    with pytest.raises(BadSignature):
        webhook.verify(signed(leaf[0]), view(), by_token=True)
    found.pems[URL] = kept
    assert webhook.verify(signed(leaf[0]), view(), by_token=True).trust is Trust.SIGNED


def test_any_change_of_the_body_is_seen(leaf: Pair) -> None:
    good = signed(leaf[0])
    for body in (good.body + b" ", good.body.replace(b"100.00", b"100.01"), good.body[:-2]):
        changed = InboundRequest("POST", "events", {}, good.headers, body)
        with pytest.raises(Exception, match=r"fit|JSON"):
            verify(changed, shelf(leaf[1]))


@pytest.mark.parametrize(
    "changed",
    [
        {"transmission_id": "other-id"},
        {"transmission_id": ""},
        {"transmission_id": "a|b"},
        {"transmission_time": "2026-07-10T09:15:27Z"},
        {"transmission_time": "soon"},
        {"transmission_time": "2026-07-10T09:15:26"},
        {"transmission_sig": ""},
        {"transmission_sig": "not base64"},
        {"transmission_sig": base64.b64encode(b"x" * 256).decode()},
        {"auth_algo": "sha256"},
        {"auth_algo": "SHA1withRSA"},
        {"auth_algo": ""},
    ],
)
def test_altered_headers(leaf: Pair, changed: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        verify(signed(leaf[0], **changed), shelf(leaf[1]))


@pytest.mark.parametrize("config_id", [None, "", "WEBHOOK_ID", "OTHERWEBHOOKID"])
def test_only_with_this_configs_own_webhook_id(leaf: Pair, config_id: str | None) -> None:
    found = shelf(leaf[1])
    request = signed(leaf[0], webhook_id=config_id if config_id == "WEBHOOK_ID" else WEBHOOK)
    with pytest.raises(BadSignature):
        verify(request, found, view(webhook_id=config_id))


def test_nobody_is_believed_where_nobody_is_known(leaf: Pair) -> None:
    found = shelf(leaf[1])
    with pytest.raises(BadSignature):
        PaypalWebhook(found).verify(signed(leaf[0]), None, by_token=False)
    assert found.asked == [], "and nothing is fetched for a stranger"


@pytest.mark.parametrize(
    ("age", "good"),
    [
        (timedelta(days=4), True),
        (timedelta(days=4, seconds=1), False),
        (timedelta(hours=-1), True),
        (timedelta(hours=-1, seconds=-1), False),
    ],
)
def test_how_old_a_transmission_may_be(leaf: Pair, age: timedelta, good: bool) -> None:
    request = signed(leaf[0], at=NOW - age)
    if good:
        assert verify(request, shelf(leaf[1])).trust is Trust.SIGNED
    else:
        with pytest.raises(BadSignature):
            verify(request, shelf(leaf[1]))


# --- where certificates may come from


@pytest.mark.parametrize(
    "url",
    [
        "http://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com.evil.example/v1/notifications/certs/CERT-1",
        "https://evil.example/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com@evil.example/v1/notifications/certs/CERT-1",
        "https://evil.example#@api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
        "https://evilapi.sandbox.paypal.com/v1/notifications/certs/CERT-1",
        "https://www.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://API.sandbox.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com:8443/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com/v1/notifications/certs/",
        "https://api.sandbox.paypal.com/v1/notifications/certs/../../files/1",
        "https://api.sandbox.paypal.com/v1/notifications/certs/%2e%2e",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1/more",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1?next=x",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1#x",
        "https://api.sandbox.paypal.com/v2/notifications/certs/CERT-1",
        "https://127.0.0.1/v1/notifications/certs/CERT-1",
        "https://[::1",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_certificate_from_elsewhere_is_not_even_fetched(leaf: Pair, url: str) -> None:
    found = shelf(leaf[1])
    found.pems[url] = pem(leaf[1])
    with pytest.raises(BadSignature):
        verify(signed(leaf[0], url=url), found)
    assert found.asked == []


@pytest.mark.parametrize(
    ("environment", "host", "good"),
    [
        (Environment.SANDBOX, "api.sandbox.paypal.com", True),
        (Environment.SANDBOX, "api-m.sandbox.paypal.com", True),
        (Environment.SANDBOX, "api-m.paypal.com", False),
        (Environment.PRODUCTION, "api.paypal.com", True),
        (Environment.PRODUCTION, "api-m.paypal.com", True),
        (Environment.PRODUCTION, "api-m.sandbox.paypal.com", False),
    ],
)
def test_the_host_fits_the_environment(leaf: Pair, environment: Environment, host: str, good: bool) -> None:
    url = f"https://{host}/v1/notifications/certs/CERT-1"
    found = Shelf()
    found.pems[url] = pem(leaf[1])
    if good:
        assert verify(signed(leaf[0], url=url), found, view(environment)).trust is Trust.SIGNED
    else:
        with pytest.raises(BadSignature):
            verify(signed(leaf[0], url=url), found, view(environment))


# --- whose certificate it is


def test_another_authority(leaf: Pair) -> None:
    forger = Authority.new("Forger")
    key, certificate = forger.leaf()
    with pytest.raises(BadSignature):
        verify(signed(key), shelf(certificate, forger.certificate))


def test_an_authority_of_the_same_name(authority: Authority) -> None:
    forger = Authority.new()
    assert forger.certificate.subject == authority.certificate.subject
    key, certificate = forger.leaf()
    for chain in ([certificate], [certificate, forger.certificate], [certificate, authority.certificate]):
        with pytest.raises(BadSignature):
            verify(signed(key), shelf(*chain))


def test_a_certificate_that_signed_itself() -> None:
    key, certificate = Authority.new(NAME).pair
    with pytest.raises(BadSignature):
        verify(signed(key), shelf(certificate))


def test_a_leaf_that_plays_authority(leaf: Pair) -> None:
    key, certificate = Authority(leaf).leaf()
    with pytest.raises(BadSignature):
        verify(signed(key), shelf(certificate, leaf[1]))


@pytest.mark.parametrize("name", ["evil.example", "paypal.com.evil.example", "evilpaypal.com", "paypal.com", "*.evil.example"])
def test_a_known_authoritys_certificate_for_somebody_else(authority: Authority, name: str) -> None:
    key, certificate = authority.leaf(name)
    with pytest.raises(BadSignature):
        verify(signed(key), shelf(certificate))


@pytest.mark.parametrize(
    ("first", "last"),
    [(timedelta(days=-30), timedelta(seconds=-1)), (timedelta(seconds=1), timedelta(days=30))],
)
def test_expired_or_not_valid_yet(authority: Authority, first: timedelta, last: timedelta) -> None:
    key, certificate = authority.leaf(first=first, last=last)
    with pytest.raises(BadSignature):
        verify(signed(key), shelf(certificate))


def test_a_cached_certificate_expires_too(authority: Authority) -> None:
    key, certificate = authority.leaf(last=timedelta(hours=1))
    webhook = PaypalWebhook(shelf(certificate))
    assert webhook.verify(signed(key), view(), by_token=True).trust is Trust.SIGNED
    later = NOW + timedelta(hours=2)
    with clock.stopped_at(later), pytest.raises(BadSignature):
        webhook.verify(signed(key, at=later), view(), by_token=True)


def test_without_the_certificates_in_between_it_is_a_hint(authority: Authority) -> None:
    """Should PayPal serve its leaf alone, its events must not stop; they are read again and never booked from the body."""
    unknown = Authority.new("An Intermediate That Was Not Served")
    key, certificate = unknown.leaf()
    verified = verify(signed(key), shelf(certificate))
    assert verified.trust is Trust.HINT
    assert verified.dedupe_key.endswith(":hint")
    with pytest.raises(BadSignature):
        verify(signed(Authority.new("Other").pair[0]), shelf(certificate))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"x" * 70_000]
)
def test_what_is_no_certificate(leaf: Pair, body: bytes) -> None:
    found = Shelf()
    found.pems[URL] = body
    with pytest.raises(BadSignature):
        verify(signed(leaf[0]), found)


def test_the_hubs_own_roots_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert len(certificates.public_roots()) > 50


# --- the simulator's certificate


def in_simulator(authority: Authority, **changed: Any) -> ConfigView:
    return view(Environment.SIMULATOR, simulator_ca=authority.pem, **changed)


def test_in_the_simulator_only_its_own_authority_counts(authority: Authority) -> None:
    own = Authority.new("Simulated")
    key, certificate = own.leaf()
    url = "https://api-m.sandbox.paypal.com/v1/notifications/certs/CERT-1"
    found = Shelf()
    found.pems[url] = pem(certificate)
    assert verify(signed(key, url=url), found, in_simulator(own)).trust is Trust.SIGNED
    for config in (in_simulator(authority), view(Environment.SIMULATOR, simulator_ca=None)):
        with pytest.raises(BadSignature):
            verify(signed(key, url=url), found, config)


def test_in_the_simulator_certificates_come_from_it_alone(authority: Authority, leaf: Pair) -> None:
    found = shelf(leaf[1])
    with pytest.raises(BadSignature):
        verify(signed(leaf[0]), found, in_simulator(authority))
    assert found.asked == []


def test_the_simulators_authority_means_nothing_elsewhere() -> None:
    own = Authority.new("Simulated")
    key, certificate = own.leaf()
    with pytest.raises(BadSignature):
        verify(signed(key), shelf(certificate, own.certificate), view(simulator_ca=own.pem))


def test_a_real_fetch_from_a_real_server(school: Hub) -> None:
    school.point()
    school.paid()
    request = school.received("PAYMENT.CAPTURE.COMPLETED")[0]
    url = request.headers["paypal-cert-url"]
    assert url.startswith(f"{school.base_url}/v1/notifications/certs/CERT-")
    assert certificates.download(url).startswith(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(certificates.UntrustedCertificate):
        certificates.download(f"{school.base_url}/v1/notifications/certs/CERT-0")
    with clock.stopped_at(school.now):
        assert PaypalWebhook().verify(request, school.view(), by_token=True).trust is Trust.SIGNED
        with pytest.raises(BadSignature):
            PaypalWebhook().verify(request, school.view(webhook_id="ANOTHERWEBHOOK"), by_token=True)
    assert fixture("event_capture_completed.json")["event_type"] == request.json()["event_type"].text()
    assert HOST not in url
