"""The OpenAPI document: no warnings, valid, canonical paths only, every route in it."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.api.test_tenant_isolation import NO_ROWS, ROUTES


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    loaded: dict[str, Any] = yaml.safe_load(out.getvalue())
    return loaded


def test_it_is_valid(document: dict[str, Any]) -> None:
    problems = [(list(error.absolute_path), error.message) for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert problems == []
    assert document["openapi"].startswith("3.1")


def test_it_has_every_route_by_its_canonical_path(document: dict[str, Any]) -> None:
    routes = {f"/api/v1/{route.path}" for route in ROUTES} - {f"/api/v1/{each}" for each in NO_ROWS}
    assert routes <= set(document["paths"])
    assert all(path.startswith("/api/v1/") for path in document["paths"])


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    found = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(found) == len(set(found))


def test_lists_are_described_as_pages(document: dict[str, Any]) -> None:
    for path in ("integrations", "integrations/configs", "integrations/logs", "integrations/queue"):
        shape = document["paths"][f"/api/v1/{path}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        name = shape["$ref"].rpartition("/")[2]
        assert {"next", "previous", "results"} == set(document["components"]["schemas"][name]["properties"])


def test_secrets_can_be_written_and_are_never_answered(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert "api_key" in schemas["IntegrationWriteRequest"]["properties"]
    assert "api_key" not in schemas["Integration"]["properties"]
