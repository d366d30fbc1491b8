"""Tenants' own types: schemas that may be hostile, and a validator that is measured against an unrelated one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django_scopes import scope
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.models import AuditEntry, Tenant
from webhooks.outbound.event_types import BY_NAME, CATALOGUE, is_reserved, is_type_name
from webhooks.outbound.models import EventTypeDefinition
from webhooks.outbound.publishing import definitions, schemas, validation
from webhooks.outbound.publishing.schemas import first_problem
from webhooks.outbound.publishing.validation import InvalidSchema, check_schema

BOOKING = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string"}, "seats": {"$ref": "#/$defs/count"}},
    "$defs": {"count": {"type": "integer", "minimum": 1}},
}


def chain(length: int) -> dict[str, Any]:
    """Return a schema that doubles its work at each of `length` steps."""
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{length}": {"type": "object"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


# --- What a schema may be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        {},
        BOOKING,
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A", "x-owner": {"pattern": "("}},
        {"properties": {"pattern": {"type": "string"}, "$ref": {"enum": [{"pattern": "("}]}}},
        {"properties": {"a": {"format": "email", "examples": [{"$ref": "http://x"}], "default": {"$id": 1}}}},
        {"$defs": {"node": {"properties": {"child": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"},
        {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": False},
        nested(18),
        *({**each.schema, "description": each.name} for each in CATALOGUE if each.publishable and "pattern" not in str(each)),
    ],
)
def test_schemas_that_are_taken(schema: dict[str, Any]) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ([], "JSON object"),
        (True, "JSON object"),
        ({"type": "text"}, "type is not as JSON Schema has it"),
        ({"properties": {"a": {"type": "integr"}}}, "properties.a.type is not as"),
        ({"properties": {"a": 5}}, "properties.a is not as"),
        ({"properties": []}, "properties is not as"),
        ({"required": "id"}, "required is not as"),
        ({"minLength": -1}, "minLength is not as"),
        ({"allOf": []}, "allOf is not as"),
        ({"multipleOf": 0}, "multipleOf is not as"),
        ({"pattern": "(a+)+$"}, "pattern: regular expressions are not taken"),
        ({"propertyNames": {"pattern": "x"}}, "propertyNames.pattern: regular expressions"),
        ({"allOf": [{"patternProperties": {".*": True}}]}, "allOf.0.patternProperties: regular expressions"),
        ({"$ref": "https://evil.example/schema.json"}, "$ref: references lead to #/$defs/<name>"),
        ({"$ref": "file:///etc/passwd"}, "$ref: references lead to"),
        ({"$ref": "#"}, "$ref: references lead to"),
        ({"$ref": "#/properties/a"}, "$ref: references lead to"),
        ({"$ref": 5}, "$ref: references lead to"),
        ({"$ref": "#/$defs/gone"}, "$ref: there is no such definition"),
        ({"$ref": "#/$defs/a/b", "$defs": {"a/b": {}}}, "names of definitions"),
        ({"properties": {"a": {"$defs": {}}}}, "properties.a.$defs: definitions stand at the top"),
        ({"$id": "https://x.example/"}, "$id: this keyword is not known here"),
        ({"$anchor": "a"}, "$anchor: this keyword"),
        ({"$dynamicRef": "#a"}, "$dynamicRef: this keyword"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties: this keyword"),
        ({"requried": ["a"]}, "requried: this keyword"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "$schema: schemas are of"),
        ({"title": "a\x00"}, "null character"),
        ({"title": "\ud800"}, "lone surrogate"),
        ({"minimum": float("inf")}, "beyond all bounds"),
        ({"enum": ["x" * 70_000]}, "larger than 64 kB"),
        (nested(21), "nested deeper than 20 levels"),
        ({"allOf": [{}] * 1001}, "more than 1000 subschemas"),
        (chain(40), "too intricate"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "too intricate"),
    ],
)
def test_schemas_that_are_refused(schema: Any, why: str) -> None:
    with pytest.raises(InvalidSchema) as refused:
        check_schema(schema)
    assert why in str(refused.value)
    str(refused.value).encode()


# --- The validator --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "value", "place"),
    [
        ({"type": "integer"}, 1.0, None),
        ({"type": "integer"}, True, "data"),
        ({"type": ["string", "null"]}, None, None),
        ({"const": 1}, True, "data"),
        ({"const": [{"a": 1}]}, [{"a": 1.0}], None),
        ({"enum": [1, "a"]}, "b", "data"),
        ({"multipleOf": 0.1}, 0.3, None),
        ({"multipleOf": 0.1}, 0.35, "data"),
        ({"multipleOf": 1e-300}, 10**400, None),
        ({"required": ["a"]}, {}, "data.a"),
        ({"properties": {"a": {"items": {"properties": {"b": {"type": "string"}}}}}}, {"a": [{}, {"b": 1}]}, "data.a.1.b"),
        ({"additionalProperties": False, "properties": {"a": True}}, {"a": 1, "b": 2}, "data.b"),
        ({"prefixItems": [{"const": 1}], "items": False}, [1, 2], "data.1"),
        ({"propertyNames": {"maxLength": 2}}, {"abc": 1}, "data.abc"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "data.b"),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}, "data.b"),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], None),
        ({"uniqueItems": True}, [{"a": [1]}, {"a": [1.0]}], "data"),
        ({"contains": {"const": 1}, "maxContains": 1}, [1, 1], "data"),
        ({"contains": {"const": 1}, "minContains": 0}, [], None),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 3, "data"),
        ({"not": {"type": "null"}}, None, "data"),
        ({"if": {"const": 1}, "then": False, "else": True}, 1, "data"),
        ({"pattern": "^evt_"}, "x", "data"),
    ],
)
def test_what_the_validator_says(schema: Any, value: Any, place: str | None) -> None:
    problem = first_problem(schema, value)
    assert (problem.at("data") if problem else None) == place


def test_messages_say_what_is_asked_for_and_not_what_was_given() -> None:
    secret = "254712345678"
    for schema, value in (
        ({"type": "integer"}, secret),
        ({"enum": ["a"]}, secret),
        ({"maxLength": 3}, secret),
        ({"anyOf": [{"const": 1}]}, secret),
        ({"items": {"const": "x" * 1000}}, [secret]),
    ):
        problem = first_problem(schema, value)
        assert problem is not None
        assert secret not in problem.message
        assert len(problem.message) < 200


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (chain(40), {}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, {}),
        ({"allOf": [{"items": {"type": "integer"}}] * 200}, list(range(100_000))),
        ({"items": {"enum": list(range(1000))}}, [-1] * 1000 + [1000] * 1000),
        ({"anyOf": [{"const": [["x"] * 1000]}] * 500}, [["x"] * 999 + ["y"]]),
    ],
)
def test_what_would_take_for_ever_ends(schema: Any, value: Any) -> None:
    problem = first_problem(schema, value)
    assert problem is not None


def test_a_large_honest_order_is_within_the_budget() -> None:
    items = [{"product": "print-20x30", "quantity": 1, "options": {"paper": "lustre"}} for _ in range(4000)]
    assert len(json.dumps(items)) > validation.MAX_DATA_BYTES
    assert first_problem(BY_NAME["order.created"].schema, {"id": "1", "items": items}) is None


def test_a_whole_list_of_objects_can_be_unique() -> None:
    assert first_problem({"uniqueItems": True}, [{"n": n} for n in range(20_000)]) is None
    alike = [n * (2**61 - 1) for n in range(1, 200)]  # to Python's sets one and the same
    frozen = schemas._Check({}, 1000).frozen
    assert len({hash(frozen(each)) for each in alike}) == len(alike)
    assert first_problem({"uniqueItems": True}, alike) is None
    assert first_problem({"uniqueItems": True}, [*alike, float(2**70), 2**70]) is not None


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0]), st.sampled_from(["", "a", "ab"]))
NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)), max_leaves=10
)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
COUNTS = st.integers(0, 3)


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=2)
    members = st.dictionaries(NAMES, inner, max_size=2)
    names = st.lists(NAMES, unique=True, max_size=2)
    keywords = {
        "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "minimum": st.integers(-2, 2),
        "exclusiveMaximum": st.integers(-2, 2),
        "multipleOf": st.integers(1, 3),
        "minLength": COUNTS,
        "maxLength": COUNTS,
        "minItems": COUNTS,
        "maxItems": COUNTS,
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "uniqueItems": st.booleans(),
        "required": names,
        "properties": members,
        "additionalProperties": inner,
        "propertyNames": inner,
        "dependentRequired": st.dictionaries(NAMES, names, max_size=2),
        "dependentSchemas": members,
        "items": inner,
        "prefixItems": some,
        "contains": inner,
        "minContains": COUNTS,
        "maxContains": COUNTS,
        "allOf": some,
        "anyOf": some,
        "oneOf": some,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two"]),
    }
    return st.lists(st.sampled_from(sorted(keywords)), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: keywords[name] for name in chosen})
    )


SCHEMAS = st.recursive(st.booleans(), _schemas, max_leaves=6)


@settings(max_examples=300, deadline=None)
@given(schema=SCHEMAS.filter(lambda each: isinstance(each, dict)), value=VALUES)
def test_it_agrees_with_an_unrelated_validator(schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "$defs": {"one": {"type": ["integer", "object"]}, "two": {"minLength": 1, "maxProperties": 1}}}
    check_schema(whole)
    assert (first_problem(whole, value) is None) is Draft202012Validator(whole).is_valid(value)


@pytest.mark.parametrize("event_type", CATALOGUE, ids=lambda each: each.name)
def test_it_understands_all_that_the_catalogue_says(event_type: Any) -> None:
    def keywords(schema: Any) -> set[str]:
        if isinstance(schema, list):
            return {name for each in schema for name in keywords(each)}
        if not isinstance(schema, dict):
            return set()
        found = set(schema)
        for name, rule in schema.items():
            if name in ("properties", "dependentSchemas"):
                found |= {inner for each in rule.values() for inner in keywords(each)}
            elif name not in ("enum", "const", "required", "dependentRequired"):
                found |= keywords(rule)
        return found

    assert keywords(event_type.schema) <= schemas.CHECKED | {"description", "format", "title"}
    assert first_problem(event_type.schema, event_type.example) is None


# --- Names, versions, archives --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("booking.created", True),
        ("order.cancelled", True),
        ("order.created", False),
        ("payment.completed", False),
        ("payment.mine", False),
        ("message.x", False),
        ("payer.x", False),
        ("webhook.x", False),
        ("lab_order.shipped", False),
        *((f"{family}.x", False) for family in ("endpoint", "integrations", "apikey", "api_key", "webhooks", "portal_link")),
        ("Booking.created", False),
        ("booking", False),
        ("booking.*", False),
        ("a." + "b" * 99, False),
    ],
)
def test_which_names_are_free(name: str, free: bool) -> None:
    assert (is_type_name(name) and not is_reserved(name) and name not in BY_NAME) is free
    if free:
        definitions.check_name(name)
    else:
        with pytest.raises(InvalidRequest) as refused:
            definitions.check_name(name)
        assert refused.value.attr == "name"


@pytest.mark.django_db
def test_only_a_changed_schema_raises_the_version(tenant: Tenant) -> None:
    with scope(tenant=tenant):
        assert definitions.define_type(tenant=tenant, name="booking.created", schema=BOOKING).version == 1
        same = definitions.redefine_type(name="booking.created", schema=dict(reversed(BOOKING.items())), description="B")
        assert (same.version, same.description) == (1, "B")
        assert definitions.redefine_type(name="booking.created", schema={"type": "object"}).version == 2
        assert definitions.redefine_type(name="booking.created").version == 3
        assert EventTypeDefinition.objects.get().description == ""
        EventTypeDefinition.objects.update(version=definitions.MAX_VERSION)
        with pytest.raises(InvalidRequest, match="too often"):
            definitions.redefine_type(name="booking.created", schema=BOOKING)


@pytest.mark.django_db
def test_an_archived_type_comes_back_as_it_was_numbered(tenant: Tenant) -> None:
    with scope(tenant=tenant):
        definitions.define_type(tenant=tenant, name="booking.created", schema=BOOKING)
        with pytest.raises(Conflict):
            definitions.define_type(tenant=tenant, name="booking.created")
        definitions.archive_type(name="booking.created")
        with pytest.raises(EventTypeDefinition.DoesNotExist):
            definitions.archive_type(name="booking.created")
        with pytest.raises(Conflict, match="archived"):
            definitions.redefine_type(name="booking.created")
        assert definitions.define_type(tenant=tenant, name="booking.created", schema=BOOKING).version == 1
        definitions.archive_type(name="booking.created")
        again = definitions.define_type(tenant=tenant, name="booking.created", schema={"type": "object"})
        assert (again.version, again.archived_at) == (2, None)
        actions = list(AuditEntry.unscoped.filter(tenant=tenant).order_by("pk").values_list("action", flat=True))
    assert actions == [
        f"event_type.{what}" for what in ("created", "archived", "restored", "archived", "restored")
    ]  # each change, and nothing of what was refused


@pytest.mark.django_db
def test_there_is_an_end_to_how_many(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "MAX_TYPES", 2)
    with scope(tenant=tenant):
        definitions.define_type(tenant=tenant, name="booking.created")
        definitions.define_type(tenant=tenant, name="booking.moved")
        with pytest.raises(InvalidRequest, match="at most 2"):
            definitions.define_type(tenant=tenant, name="booking.freed")


@pytest.mark.django_db
def test_what_is_taken_can_be_stored(tenant: Tenant) -> None:
    """The database has its own ideas of what JSON is: nothing that passes the checks may fail there."""
    odd = {"properties": {"": {"const": 10**300}, "é🎓": {"minimum": -1.5e300}}, "x-": ["\u2028", "\\u0000"]}
    with scope(tenant=tenant):
        definitions.define_type(tenant=tenant, name="booking.created", schema=odd, example={"": 10**300})
        assert EventTypeDefinition.objects.get().schema["x-"] == ["\u2028", "\\u0000"]
