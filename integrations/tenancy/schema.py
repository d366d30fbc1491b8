"""OpenAPI: the versioned routes, the error shape, and both ways to authenticate."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_standardized_errors.openapi import AutoSchema


class HubAutoSchema(AutoSchema):
    """Names each operation after its canonical path, so that two views of one model never collide."""

    def get_operation_id(self) -> str:
        """Return method and path, which are unique together: `get_integrations_configs_config_id`."""
        path = self.path.removeprefix("/api/v1/").translate(str.maketrans({"{": None, "}": None, "-": "_", "/": "_"}))
        return f"{self.method.lower()}_{path}"

    def get_tags(self) -> list[str]:
        parts = [part for part in self.path.removeprefix("/api/v1/").split("/") if part and not part.startswith("{")]
        return [parts[1] if parts[:1] == ["integrations"] and len(parts) > 1 else parts[0]]


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = "integrations.tenancy.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key; `X-API-Key: <key>` does the same."}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "integrations.tenancy.authentication.TenantSessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "A browser session with CSRF; `X-Tenant: <slug>` picks one of several tenants.",
        }


def canonical_routes_only(endpoints: list[Any], **_kwargs: Any) -> list[Any]:
    """Leave the unversioned aliases out of the schema; its description names them."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/v1/")]


def classes_without_docs() -> list[type]:
    """Return the base classes whose docstrings say nothing to an API's reader."""
    from drf_spectacular.plumbing import get_lib_doc_excludes

    from integrations.tenancy.serializers import StrictSerializer
    from integrations.tenancy.views import StaffAPIView, StaffGenericAPIView, TenantAPIView, TenantGenericAPIView

    ours = [StrictSerializer, TenantAPIView, TenantGenericAPIView, StaffAPIView, StaffGenericAPIView]
    return [*get_lib_doc_excludes(), *ours]
