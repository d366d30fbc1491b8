"""A vendor's own OpenAPI description as a judge of requests, answers and webhooks.

OpenAPI 3.1 only. Google's discovery documents and Shopify's GraphQL schema come with their providers. Bodies that are
neither JSON nor a form (`multipart/form-data`, files) are matched to their operation and not looked into.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.vendor_specs.forms import coerce, unfold

REPOSITORY = Path(__file__).resolve().parents[2]
METHODS = ("get", "post", "put", "patch", "delete")
# Described loosely by their vendor: a misspelt name in a request would pass. Never for answers: vendors add members.
CLOSED_REQUESTS = frozenset({"paypal", "twilio", "sendgrid", "hubspot"})
# Statuses that vendors answer with and describe nowhere.
UNDESCRIBED_STATUSES = frozenset({401, 409, 429})
FORM = "application/x-www-form-urlencoded"


class SpecViolation(AssertionError):
    """A request, answer or webhook is not as the vendor's description says; the text names the place."""


def specs_folder() -> Path | None:
    """Return the folder of vendors' descriptions: `VENDOR_SPECS`, else `../shared/specs` beside this checkout; or None."""
    folder = Path(os.environ.get("VENDOR_SPECS") or REPOSITORY / "../shared/specs").resolve()
    return folder if folder.is_dir() else None


@lru_cache(maxsize=32)
def description_of(slug: str) -> Description | None:
    """Return the description of the provider with this slug, None where there is no OpenAPI file of it."""
    folder = specs_folder()
    path = folder / f"{slug}.json" if folder else None
    if path is None or not path.is_file():
        return None
    document = json.loads(path.read_text("utf-8"))
    return Description(slug, document) if "openapi" in document else None


@dataclass(frozen=True, slots=True)
class Operation:
    """One described operation. `pointer` leads to it in the document."""

    method: str
    template: str
    pattern: re.Pattern[str]
    pointer: str
    spec: Mapping[str, Any]
    parameters: Sequence[Mapping[str, Any]]


class Description:
    """An OpenAPI document, ready to check against."""

    def __init__(self, slug: str, document: Mapping[str, Any]) -> None:
        self.slug = slug
        self._answers = _with_nulls(document)
        self._requests = _closed(self._answers) if slug in CLOSED_REQUESTS else self._answers
        registry: Registry[Any] = Registry()
        for side, contents in (("request", self._requests), ("answer", self._answers)):
            resource = Resource(contents=contents, specification=DRAFT202012)
            registry = registry.with_resource(f"urn:{slug}:{side}", resource)
        self._registry = registry
        self.operations = sorted(self._read(), key=lambda each: (each.template.count("{"), -len(each.template)))

    def _read(self) -> list[Operation]:
        found = []
        for template, item in self._requests["paths"].items():
            for method in METHODS:
                if method not in item:
                    continue
                parts = re.split(r"\{[^}]+\}", template)
                names = [re.sub(r"\W", "_", name) for name in re.findall(r"\{([^}]+)\}", template)]
                pattern = re.escape(parts[0]) + "".join(
                    f"(?P<{name}>[^/]+){re.escape(rest)}" for name, rest in zip(names, parts[1:], strict=True)
                )
                pointer = f"/paths/{_token(template)}/{method}"
                shared = [self._resolved(each) for each in item.get("parameters", [])]
                own = [self._resolved(each) for each in item[method].get("parameters", [])]
                named = {(each["in"], each["name"]): each for each in (*shared, *own)}
                found.append(Operation(method, template, re.compile(pattern), pointer, item[method], list(named.values())))
        return found

    def match(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """Return the operation and its path parameters; literal segments go before variables. Raises `SpecViolation`."""
        for operation in self.operations:
            found = operation.pattern.fullmatch(path) if operation.method == method.lower() else None
            if found:
                return operation, {name: unquote(value) for name, value in found.groupdict().items()}
        raise SpecViolation(f"{self.slug}: {method} {path} is not described")

    def check_request(self, method: str, path: str, query: str, content_type: str, body: bytes) -> None:
        """Check path, query string and body of a request; raise `SpecViolation`."""
        operation, path_values = self.match(method, path)
        where = f"{self.slug}: {operation.method.upper()} {operation.template}"
        self._check_parameters(where, operation, path_values, query)
        described = operation.spec.get("requestBody")
        described = self._resolved(described) if described else {}
        if not body:
            if described.get("required"):
                raise SpecViolation(f"{where}: the body is missing")
            return
        kind = content_type.partition(";")[0].strip().lower()
        content = described.get("content", {})
        if kind not in content:
            raise SpecViolation(f"{where}: a body of type {kind or 'none'}; described are {sorted(content) or 'none'}")
        schema = content[kind].get("schema", {})
        if kind == FORM:
            self._check(where, "request", coerce(unfold(_pairs(body)), schema, self._coercing), schema)
        elif kind.endswith("json"):
            self._check(where, "request", _json(where, body), schema)

    def check_answer(self, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
        """Check an answer to this method and path; raise `SpecViolation`."""
        operation, _values = self.match(method, path)
        where = f"{self.slug}: {status} to {operation.method.upper()} {operation.template}"
        # Of the document as it is: only requests must not hold more than is described.
        responses = self._answers["paths"][operation.template][operation.method]["responses"]
        response = responses.get(str(status)) or responses.get(f"{status // 100}XX")
        if response is None and (status in UNDESCRIBED_STATUSES or status >= 500):
            return
        response = response or responses.get("default")
        if response is None:
            raise SpecViolation(f"{where}: this status is not described; described are {sorted(responses)}")
        content = self._resolved(response, self._answers).get("content", {})
        kind = content_type.partition(";")[0].strip().lower()
        if not body and not content:
            return
        if kind not in content:
            raise SpecViolation(f"{where}: a body of type {kind or 'none'}; described are {sorted(content) or 'none'}")
        if kind.endswith("json"):
            self._check(where, "answer", _json(where, body), content[kind].get("schema", {}))

    def check_component(self, name: str, value: Any) -> None:
        """Check data (a webhook's payload, parsed) against a named schema of the description; raise `SpecViolation`."""
        self._check(f"{self.slug}: {name}", "answer", value, {"$ref": f"#/components/schemas/{_token(name)}"})

    def _check_parameters(self, where: str, operation: Operation, path_values: Mapping[str, str], query: str) -> None:
        given = unfold(parse_qsl(query, keep_blank_values=True))
        described = {each["name"]: each for each in operation.parameters if each["in"] == "query"}
        unknown = sorted(set(given) - set(described))
        if unknown:
            raise SpecViolation(f"{where}: query parameters that are not described: {', '.join(unknown)}")
        for each in operation.parameters:
            name = each["name"]
            values = {"query": given, "path": path_values}.get(each["in"])
            if values is None:
                continue  # headers: vendors leave most of theirs out
            key = re.sub(r"\W", "_", name) if each["in"] == "path" else name
            if key in values:
                schema = each.get("schema", {})
                self._check(f"{where}: {name}", "request", coerce(values[key], schema, self._coercing), schema)
            elif each.get("required"):
                raise SpecViolation(f"{where}: {each['in']} parameter {name} is missing")

    def _check(self, where: str, side: str, value: Any, schema: Mapping[str, Any]) -> None:
        error = next(
            iter(sorted(self._validator(schema, side).iter_errors(value), key=lambda one: list(map(str, one.path)))), None
        )
        if error is not None:
            place = ".".join(str(part) for part in error.absolute_path) or "body"
            raise SpecViolation(f"{where}: {place}: {error.message[:300]}")

    def _validator(self, schema: Mapping[str, Any], side: str) -> Draft202012Validator:
        # The schema becomes part of a copy that knows where its references lead.
        return Draft202012Validator(_absolute(schema, f"urn:{self.slug}:{side}"), registry=self._registry)

    def _coercing(self, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
        """Return a schema without its outer reference, and what tells whether a value fits it."""
        resolved = self._resolved(schema)
        return resolved, self._validator(resolved, "request").is_valid

    def _resolved(self, node: Mapping[str, Any], document: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        while "$ref" in node:
            target: Any = self._requests if document is None else document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[unquote(part).replace("~1", "/").replace("~0", "~")]
            node = target
        return node


def _token(name: str) -> str:
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="~.-_$")


def _absolute(schema: Any, base: str) -> Any:
    if isinstance(schema, Mapping):
        return {
            key: f"{base}{value}" if key == "$ref" and isinstance(value, str) else _absolute(value, base)
            for key, value in schema.items()
        }
    return [_absolute(each, base) for each in schema] if isinstance(schema, list) else schema


def _with_nulls(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a copy in which `nullable: true` (a word of OpenAPI 3.0 that was left in later documents) allows null."""

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(each) for each in node]
        if not isinstance(node, dict):
            return node
        made = {key: walk(value) for key, value in node.items()}
        if made.get("nullable") is True and isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
            if isinstance(made.get("enum"), list) and None not in made["enum"]:
                made["enum"] = [*made["enum"], None]
        return made

    return dict(walk(document))


def _closed(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a copy in which objects refuse members that are not described, but for branches of a combination."""
    copied = copy.deepcopy(dict(document))
    branches: set[str] = set()

    def collect(node: Any, branch: bool) -> None:
        if isinstance(node, dict):
            if branch and "$ref" in node:
                branches.add(str(node["$ref"]))
            for key, value in node.items():
                for each in value if isinstance(value, list) else [value]:
                    collect(each, key in ("allOf", "anyOf", "oneOf"))

    def close(node: Any, pointer: str, branch: bool) -> None:
        if isinstance(node, dict):
            open_ended = "additionalProperties" in node or "unevaluatedProperties" in node
            if isinstance(node.get("properties"), dict) and not branch and not open_ended and pointer not in branches:
                node["unevaluatedProperties"] = False
            for key, value in node.items():
                if key in ("example", "examples", "enum", "default"):
                    continue
                for each in value if isinstance(value, list) else [value]:
                    close(each, f"{pointer}/{_token(key)}", key in ("allOf", "anyOf", "oneOf"))

    collect(copied, False)
    close(copied, "#", False)
    return copied


def _pairs(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("utf-8"), keep_blank_values=True)


def _json(where: str, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise SpecViolation(f"{where}: the body is not JSON") from None
