"""What every provider's inbound side must offer: paths fit for a URL, and a declared answer to whatever comes in."""

from __future__ import annotations

import re

import pytest

from integrations import registry
from integrations.contracts.inbound import BadSignature, InboundRequest, MalformedWebhook, Origin, Trust, WebhookAdapter
from integrations.contracts.provider import Provider

WITH_WEBHOOKS = [provider for provider in registry.providers().values() if provider.webhook]
# Safaricom refuses callback URLs with these words (provider sheet); our own paths must be fit for every provider.
FORBIDDEN_WORDS = re.compile(r"m-?pesa|safaricom|exec?|cmd|sql|query")
each_webhook = pytest.mark.parametrize("provider", WITH_WEBHOOKS, ids=lambda value: getattr(value, "slug", str(value)))


def inbound(provider: Provider) -> WebhookAdapter:
    found = provider.webhook_adapter()
    assert found is not None
    return found


@each_webhook
def test_purposes_and_paths_are_fit_for_a_url(provider: Provider) -> None:
    adapter = inbound(provider)
    assert adapter.provider == provider.slug
    assert adapter.purposes
    for purpose in adapter.purposes:
        assert re.fullmatch(r"[a-z0-9-]{1,40}", purpose)
        assert not FORBIDDEN_WORDS.search(purpose)
    assert set(adapter.config_purposes) <= adapter.purposes
    assert all(text.strip() for text in adapter.config_purposes.values())
    for fixed in adapter.fixed_paths:
        assert re.fullmatch(r"(/[a-z0-9-]+)+", fixed.path)
        assert fixed.purpose in adapter.purposes
        assert set(fixed.methods) <= {"GET", "POST", "PUT", "HEAD"}


def test_no_two_providers_answer_one_fixed_path_differently() -> None:
    purposes: dict[str, set[str]] = {}
    for provider in WITH_WEBHOOKS:
        for fixed in inbound(provider).fixed_paths:
            purposes.setdefault(fixed.path, set()).add(fixed.purpose)
    assert {path: found for path, found in purposes.items() if len(found) > 1} == {}


GARBAGE = [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 50_000, b'{"a":' * 5_000, b"a=b&c", b'"text"', b"1e999", b"{\x00}"]


@each_webhook
@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_refused_in_the_declared_way(provider: Provider, body: bytes) -> None:
    adapter = inbound(provider)
    origin = Origin(tenant_id=1, config_id=1, trust=Trust.HINT, receipt_id=1)
    for purpose in sorted(adapter.purposes):
        request = InboundRequest("POST", purpose, {}, {}, body)
        for step in (
            lambda request=request: adapter.locate(request),
            lambda request=request: adapter.verify(request, None, by_token=True),
            lambda request=request: adapter.verify(request, None, by_token=False),
            lambda request=request: adapter.parse(request, origin),
            lambda request=request: adapter.asks(request, origin),
        ):
            try:
                step()
            except (MalformedWebhook, BadSignature):
                continue


@each_webhook
def test_an_acknowledgement_is_always_possible(provider: Provider) -> None:
    adapter = inbound(provider)
    for purpose in sorted(adapter.purposes):
        ack = adapter.ack(InboundRequest("POST", purpose, {}, {}, b""))
        assert 200 <= ack.status < 300
        assert isinstance(ack.body, bytes)
