"""Inbound paths: the fixed ones that the providers themselves declare, and the one with an unguessable token."""

from __future__ import annotations

from collections import defaultdict

from django.urls import URLPattern, path, re_path

from integrations.registry import webhook_adapters
from webhooks.inbound.views import fixed, hook

TOKEN_PATH = r"^hooks/(?P<token>[0-9a-f]{16,64})(?:/(?P<purpose>.*))?$"  # noqa: S105 a path
"""A generic source's: nothing behind the token, or whatever its sender likes to put there. A provider's are among them."""


def patterns() -> list[URLPattern]:
    """Return the routes of all installed providers."""
    shared: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for slug, adapter in webhook_adapters().items():
        for fixed_path in adapter.fixed_paths:
            shared[fixed_path.path.lstrip("/"), fixed_path.purpose, fixed_path.methods].append(slug)
    routes = [path(where, fixed(slugs, purpose, methods)) for (where, purpose, methods), slugs in shared.items()]
    return [
        *routes,
        re_path(r"^hooks/(?P<token>[0-9a-f]{16,64})/(?P<purpose>[a-z0-9-]{1,40})$", hook, name="hook"),
        re_path(TOKEN_PATH, hook),
    ]


urlpatterns = patterns()
