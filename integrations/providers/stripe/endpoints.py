"""Registering the hub's webhook URL with Stripe. Its signing secret is told once, when the endpoint is created."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.adapter import ConfigView, Registration
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.wire import Wire
from integrations.providers.stripe.calls import Calls
from integrations.providers.stripe.reading import id_of
from integrations.providers.stripe.webhook import EVENTS, PAYMENT_EVENTS, SETUP_EVENTS

ENDPOINTS = "/v1/webhook_endpoints"
WANTED = tuple(sorted((*PAYMENT_EVENTS, *SETUP_EVENTS)))


def register(calls: Calls, config: ConfigView, urls: Mapping[str, str]) -> Registration:
    """Make the account call `urls["events"]` with the events we understand, in the API version that we read.

    An endpoint of ours is kept and brought up to date; where its secret is not known here, or it speaks another version, a new
    one takes its place. For a connected account the endpoint belongs to the platform. Raises `Refused`, `ProviderError`.
    """
    url = urls.get(EVENTS)
    if not url:
        raise InvalidRequest("There is no URL to register.", attr=EVENTS)
    version = str(config.get("api_version"))
    stored = str(config.get("webhook_endpoint_id") or "")
    found = [
        each
        for each in calls.listed(ENDPOINTS, operation="webhooks", account=False)
        if each.get("url") == url or (stored and each.get("id") == stored)
    ]
    kept = next((each for each in found if id_of(each) == stored and each.get("api_version") == version), None)
    if kept is not None and config.get("webhook_secret"):
        registration = _update(calls, kept, url)
    else:
        kept, registration = None, _create(calls, config, url, version)
    for each in found:
        if each is not kept:
            # Its deliveries would be refused here for ever: they are signed with a secret that nobody has.
            calls.delete(f"{ENDPOINTS}/{id_of(each)}", operation="webhooks", account=False)
    return registration


def _update(calls: Calls, endpoint: Mapping[str, Any], url: str) -> Registration:
    ref = id_of(endpoint)
    current = (endpoint.get("url"), endpoint.get("status"), set(endpoint.get("enabled_events") or ()))
    if current == (url, "enabled", set(WANTED)):
        return Registration(f"Stripe calls this URL already (endpoint {ref}).", values={"webhook_endpoint_id": ref})
    calls.post(
        f"{ENDPOINTS}/{ref}", operation="webhooks", safe=True, account=False,
        url=url, enabled_events=list(WANTED), disabled=False,
    )  # fmt: skip
    return Registration(f"Endpoint {ref} was brought up to date.", values={"webhook_endpoint_id": ref})


def _create(calls: Calls, config: ConfigView, url: str, version: str) -> Registration:
    params: dict[str, Any] = {"url": url, "enabled_events": list(WANTED), "api_version": version}
    if config.get("connected_account"):
        params["connect"] = True
    # Repeating finds a half-made endpoint by its URL and replaces it.
    made = Wire(calls.post(ENDPOINTS, operation="webhooks", safe=True, account=False, description="Integrations Hub", **params))
    ref = made["id"].text(max_length=255)
    return Registration(
        f"Stripe now sends its events to this URL (endpoint {ref}).",
        values={"webhook_endpoint_id": ref},
        secrets={"webhook_secret": made["secret"].text(max_length=300)},
    )
