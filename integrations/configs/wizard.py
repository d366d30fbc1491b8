"""Setting an account up, step by step: credentials, switching on, live check, webhooks, primary, a test transaction.

The steps are the ordinary services in their order; what has been done is read from the rows and remembered nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import phonenumbers
from django.conf import settings
from django.db import transaction

from integrations.configs import checks, registrations, schemas, services
from integrations.configs.features import offering, payment_features
from integrations.configs.routing import callback_urls
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import AuthenticationFailed, Conflict, UnsupportedOperation
from integrations.contracts.money import exponent
from integrations.contracts.payment_features import CurrencyRule, MethodType, PaymentFeatures
from integrations.contracts.provider import Provider
from integrations.models import Config, ConfigStatus, PrimaryConfig, Tenant
from integrations.registry import get_provider, webhook_adapters
from integrations.runtime.resolve import find_config
from integrations.secrets import SecretUnreadable

CREDENTIALS, ACTIVATE, TEST, WEBHOOKS, PRIMARY = "credentials", "activate", "test", "webhooks", "primary"
TEST_TRANSACTION = "test-transaction"
STEPS = {
    CREDENTIALS: "Enter the credentials",
    ACTIVATE: "Switch the config on",
    TEST: "Call the provider with them",
    WEBHOOKS: "Tell the provider our URLs",
    PRIMARY: "Make it the one that is used",
    TEST_TRANSACTION: "Try a payment",
}
UNREADABLE = "The stored secrets can't be read any more: enter them again."
AUTHORIZE_PATH = "/api/v1/payments/authorize"


class Method(StrEnum):
    """How the provider learns our URLs."""

    API = "api"
    MANUAL = "manual"
    NONE = "none"


class State(StrEnum):
    """`by_hand`: the hub can't do it and can't see whether it is done; `blocked`: a step before it comes first."""

    DONE = "done"
    AHEAD = "todo"
    FAILED = "failed"
    BLOCKED = "blocked"
    BY_HAND = "by_hand"
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How one step stands; `detail` is for people."""

    step: str
    title: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What came of a step. `request` is what the caller is to send for a test transaction."""

    step: str
    ok: bool
    status: str
    detail: str
    config: int
    duration_ms: int = 0
    next: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] | None = None


# --- how far it is --------------------------------------------------------------------------------------------------------


def webhook_method(provider: Provider) -> Method:
    """Return how this provider learns our URLs."""
    adapter = webhook_adapters().get(provider.slug)
    if adapter is None or not adapter.config_purposes:
        return Method.NONE
    return Method.API if offering(provider, "register_webhooks") else Method.MANUAL


def progress(provider: Provider, config: Config | None) -> list[Progress]:
    """Return how each step stands, in their order. Reads only."""
    return [Progress(step, title, *_state(step, provider, config)) for step, title in STEPS.items()]


def next_step(found: list[Progress], after: str | None = None) -> str | None:
    """Return the step to do now: the first after `after` that is not done, else the first of all that is left undone."""
    names = [each.step for each in found]
    start = names.index(after) + 1 if after is not None else 0
    ahead = [each.step for each in found[start:] if each.state in (State.AHEAD, State.FAILED, State.BY_HAND)]
    behind = [each.step for each in found[:start] if each.state in (State.AHEAD, State.FAILED)]
    return next(iter(ahead + behind), None)


def _state(step: str, provider: Provider, config: Config | None) -> tuple[State, str]:
    if step == TEST_TRANSACTION and Capability.PAYMENT not in provider.adapters:
        return State.NOT_NEEDED, "For payment providers only."
    if step == WEBHOOKS and webhook_method(provider) is Method.NONE:
        return State.NOT_NEEDED, "This provider calls nobody."
    if config is None:
        return (State.AHEAD, "") if step == CREDENTIALS else (State.BLOCKED, "Save the credentials first.")
    if step == CREDENTIALS:
        return _credentials_state(config)
    if step == ACTIVATE:
        if config.is_active:
            return State.DONE, ""
        return (State.AHEAD, "") if not missing_of(config) else (State.BLOCKED, "Complete the credentials first.")
    if step == WEBHOOKS and webhook_method(provider) is Method.MANUAL:
        return State.BY_HAND, "Paste the URLs into the provider's dashboard."
    if not config.is_active:
        return State.BLOCKED, "Switch the config on first."
    return {TEST: _test_state, WEBHOOKS: _webhooks_state, PRIMARY: _primary_state, TEST_TRANSACTION: _try_state}[step](config)


def missing_of(config: Config) -> dict[str, str]:
    """Return {field: problem} of what keeps the config from being switched on."""
    try:
        return schemas.missing(config)
    except SecretUnreadable:
        return {"secrets": UNREADABLE}


def _credentials_state(config: Config) -> tuple[State, str]:
    missing = missing_of(config)
    return (State.AHEAD, _list(missing)) if missing else (State.DONE, "")


def _list(missing: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in missing.items())


def _test_state(config: Config) -> tuple[State, str]:
    if config.status == ConfigStatus.OK:
        return State.DONE, config.status_detail
    return (State.AHEAD, "") if config.status == ConfigStatus.UNTESTED else (State.FAILED, config.status_detail)


def _webhooks_state(config: Config) -> tuple[State, str]:
    if registrations.is_registered(config):
        return State.DONE, ""
    return State.AHEAD, "Our present URLs have not been registered with the present values."


def _primary_state(config: Config) -> tuple[State, str]:
    mine = set(PrimaryConfig.unscoped.filter(config_id=config.pk).values_list("category", flat=True))
    left = [each for each in get_provider(config.provider_id).categories if each not in mine]
    return (State.AHEAD, f"Not for {', '.join(left)}.") if left else (State.DONE, "")


def _try_state(config: Config) -> tuple[State, str]:
    if config.environment == Environment.PRODUCTION.value:
        return State.NOT_NEEDED, "In production real money would move."
    if not _serves(config):
        return State.BLOCKED, "Payments with this provider go to another config: make this one primary first."
    return State.BY_HAND, "The step answers the request to make."


def _serves(config: Config) -> bool:
    """Tell whether a payment that names the provider goes to this config."""
    served_by = find_config(tenant_id=config.tenant_id, capability=Capability.PAYMENT.value, provider=config.provider_id)
    return served_by is not None and served_by.pk == config.pk


# --- the steps ------------------------------------------------------------------------------------------------------------


def save_credentials(
    *,
    tenant: Tenant,
    provider: Provider,
    values: Mapping[str, Any],
    config: Config | None = None,
    environment: str | None = None,
    label: str | None = None,
) -> Config:
    """Store a new config, or change `config`, and switch it on once nothing is missing: only then can it be tried.

    What is given must be right, and an active config stays complete; a new one, or one that is off, may lack fields.
    A new one needs an `environment`. Raises as `services.create_config`.
    """
    with transaction.atomic():
        if config is None:
            stored = services.create_config(
                tenant=tenant,
                provider=provider.slug,
                environment=environment or "",
                values=values,
                label=label or "",
                is_active=False,
            )
        else:
            stored = services.update_config(config=config, values=values, environment=environment, label=label)
        if not stored.is_active and not missing_of(stored):
            stored = services.update_config(config=stored, is_active=True)
    return stored


def credentials_outcome(config: Config) -> StepOutcome:
    """Return how the credentials stand once they are stored."""
    missing = missing_of(config)
    if missing:
        return StepOutcome(
            CREDENTIALS, False, "incomplete", f"Stored; {_list(missing)}.", config.pk, next=CREDENTIALS, missing=missing
        )
    return _went_well(CREDENTIALS, config, "stored", "Complete, stored and switched on.")


def run_step(step: str, *, config: Config) -> StepOutcome:
    """Do one of the steps other than `credentials`; raise `KeyError` for an unknown one.

    Called outside of any transaction: `test` and `webhooks` call the provider. A provider that refuses the test is an
    outcome; everything else that can't be done raises (`SchemaErrors`, `Conflict`, `UnsupportedOperation`, ...).
    """
    return _RUN[step](config)


def _activate(config: Config) -> StepOutcome:
    stored = services.update_config(config=config, is_active=True)
    return _went_well(ACTIVATE, stored, "active", "Switched on.")


def _test(config: Config) -> StepOutcome:
    outcome = checks.test_config(config=config)
    config.refresh_from_db()
    if outcome.ok:
        return _went_well(TEST, config, outcome.status, outcome.detail, outcome.duration_ms)
    again = CREDENTIALS if outcome.status == AuthenticationFailed.code else TEST
    return StepOutcome(TEST, False, outcome.status, outcome.detail, config.pk, outcome.duration_ms, again)


def _webhooks(config: Config) -> StepOutcome:
    outcome = checks.register_webhooks(config=config)
    return _went_well(WEBHOOKS, config, outcome.status, outcome.detail, outcome.duration_ms)


def _primary(config: Config) -> StepOutcome:
    categories = services.set_primary(config=config)
    text = f"It serves {', '.join(categories)} now; what is under way stays where it is."
    return _went_well(PRIMARY, config, "primary", text)


def _test_transaction(config: Config) -> StepOutcome:
    provider = get_provider(config.provider_id)
    features = payment_features(provider, config)
    if features is None:
        raise UnsupportedOperation(f"{provider.name} takes no payments.", provider=provider.slug)
    if config.environment == Environment.PRODUCTION.value:
        raise UnsupportedOperation("In production real money would move: try it with a sandbox config.", provider=provider.slug)
    if not config.is_active:
        raise Conflict("This config is switched off: switch it on first.", provider=provider.slug)
    if not _serves(config):
        raise Conflict("Payments with this provider go to another config: make this one primary first.", provider=provider.slug)
    return StepOutcome(
        TEST_TRANSACTION,
        True,
        "ready",
        "Send this request to see a payment through; no real money moves.",
        config.pk,
        request=_try_request(config, features),
    )


def _try_request(config: Config, features: PaymentFeatures) -> dict[str, Any]:
    """Return the smallest sensible payment that this config can make, in the tenant's currency where it takes that."""
    tenant = config.tenant
    currency = tenant.currency if tenant.currency in features.currencies else min(features.currencies)
    method: dict[str, Any]
    if MethodType.REDIRECT in features.methods:
        method, fill_in = {"type": MethodType.REDIRECT.value}, {}
    elif MethodType.MOBILE_MONEY in features.methods:
        method = {"type": MethodType.MOBILE_MONEY.value, "phone": _example_number(tenant.country)}
        fill_in = {"method.phone": "A number that the gateway has for tests."}
    else:
        method, fill_in = {"type": MethodType.CARD.value}, {"method.token": "A test card's token, where you have one."}
    body = {
        "provider": config.provider_id,
        "amount": _small_amount(features.currencies[currency], currency),
        "currency": currency,
        "capture": "automatic",
        "method": method,
        "reference": {"type": "setup", "id": f"TEST-{config.pk}"},
        "description": "Test of the set-up",
        "return_url": f"{settings.PUBLIC_BASE_URL}/",
    }
    return {"method": "POST", "path": AUTHORIZE_PATH, "body": body, "fill_in": fill_in}


def _small_amount(rule: CurrencyRule, currency: str) -> int:
    """Return ten of the currency's units, or what comes next to that within the gateway's limits and steps."""
    unit: int = 10 ** exponent(currency)
    wanted = min(max(10 * unit, rule.minimum), rule.maximum)
    up = -(-wanted // rule.step) * rule.step
    return up if up <= rule.maximum else wanted // rule.step * rule.step


def _example_number(country: str) -> str:
    found = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164) if found else ""


_RUN = {ACTIVATE: _activate, TEST: _test, WEBHOOKS: _webhooks, PRIMARY: _primary, TEST_TRANSACTION: _test_transaction}


def _went_well(step: str, config: Config, status: str, detail: str, duration_ms: int = 0) -> StepOutcome:
    found = progress(get_provider(config.provider_id), config)
    return StepOutcome(step, True, status, detail, config.pk, duration_ms, next_step(found, step), missing_of(config))


def purposes(provider: Provider, config: Config | None) -> list[dict[str, Any]]:
    """Return each URL that the provider is to be told; its address is None until there is a config."""
    adapter = webhook_adapters().get(provider.slug)
    urls = {each.purpose: each.url for each in callback_urls(config)} if config is not None else {}
    declared = adapter.config_purposes if adapter is not None else {}
    return [{"purpose": name, "what": what, "url": urls.get(name)} for name, what in declared.items()]
