"""The routes of providers, configs and their set-up, below `/api/v1/`."""

from __future__ import annotations

from django.urls import URLPattern

from integrations.configs.category_api import category_routes
from integrations.configs.config_api import routes as config_routes
from integrations.configs.setup_api import routes as setup_routes
from integrations.contracts.capabilities import Capability

routes: list[URLPattern] = [
    *config_routes,
    *category_routes("integrations/payment-providers", Capability.PAYMENT, id_name="payment_provider_id"),
    *setup_routes,
]
