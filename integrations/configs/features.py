"""What a provider's adapters can do: the operations they implement, and a gateway's capability matrix."""

from __future__ import annotations

from typing import Any

from integrations.contracts.adapter import Adapter
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import ProviderError
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import PaymentFeatures
from integrations.contracts.provider import Provider
from integrations.models import Config
from integrations.registry import config_view
from integrations.secrets import SecretUnreadable


def operations(adapter: type[Adapter]) -> list[str]:
    """Return the names of the contract's operations that this adapter implements itself, sorted."""
    contracts = [each for each in adapter.__mro__ if each.__module__.startswith("integrations.contracts.")]
    offered = {
        name
        for contract in contracts
        for name, member in vars(contract).items()
        if callable(member) and not name.startswith("_")
    }
    return sorted(name for name in offered if not any(getattr(adapter, name) is vars(each).get(name) for each in contracts))


def offering(provider: Provider, operation: str) -> Capability | None:
    """Return the first capability whose adapter implements `operation` itself; None where none does."""
    return next((each for each in provider.adapters if operation in operations(provider.adapter_class(each))), None)


def payment_features(provider: Provider, config: Config | None = None) -> PaymentFeatures | None:
    """Return the matrix of this config (what gateways of its kind can do, where none is given or it can't be opened);
    None for what is no payment gateway."""
    if Capability.PAYMENT not in provider.adapters:
        return None
    adapter = provider.adapter_class(Capability.PAYMENT)
    assert issubclass(adapter, PaymentAdapter)  # noqa: S101 the registry's contract test holds every provider to this
    if config is None:
        return adapter.features
    try:
        return adapter.features_for(config_view(config))
    except (SecretUnreadable, ProviderError):
        return adapter.features


def matrix(provider: Provider, config: Config | None = None) -> dict[str, Any] | None:
    """Return `payment_features` as the API shows it."""
    features = payment_features(provider, config)
    return features.describe() if features is not None else None
