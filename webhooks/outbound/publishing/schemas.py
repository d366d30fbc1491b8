"""JSON Schema (draft 2020-12) for schemas and values that may both be hostile.

Tenants write the schemas and hand in the values. The usual libraries trust their schemas: they follow references wherever they
lead, run any regular expression, double their work at each branch, and write the whole value into every message. Here nothing
is ever fetched, work is counted and has an end, and messages say what the schema asks for and never what the value was.

Understood are all keywords but `$dynamicRef`, `$anchor`, `$id`, `patternProperties` and `unevaluated...`; `$ref` leads to
`#/$defs/<name>` only. `format` is an annotation, as the draft has it. Which of this a tenant's own schema may use is said in
`validation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from webhooks.outbound.publishing.numbers import number_key

BUDGET = 200_000
"""Steps of one check, at most; well below a second."""

REF_PREFIX = "#/$defs/"
_LONGEST_TEXT = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """Where a value breaks its schema (names and indexes from the top), and what is asked for there."""

    path: tuple[str | int, ...]
    message: str

    def at(self, prefix: str) -> str:
        """Return the place in dotted form below `prefix`, at most 200 characters."""
        return ".".join([prefix, *(str(each) for each in self.path)])[:200]


class _TooMuch(Exception):
    """The budget is used up."""


def first_problem(schema: Mapping[str, Any] | bool, value: Any, *, budget: int = BUDGET) -> Problem | None:
    """Return the first thing in which `value` (as JSON gives it) breaks a schema that is valid in itself, None where it fulfils
    it. What can't be decided within `budget` steps, or refers to itself without end, is a problem too."""
    defs = schema.get("$defs", {}) if isinstance(schema, Mapping) else {}
    try:
        return _Check(defs, budget).problem(schema, value, ())
    except (_TooMuch, RecursionError, OverflowError):
        return Problem((), "is too large, or its schema too intricate, to be checked")


Path = tuple[str | int, ...]


class _Check:
    def __init__(self, defs: Mapping[str, Any], budget: int) -> None:
        self.defs = defs
        self.left = budget

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _TooMuch

    def problem(self, schema: Mapping[str, Any] | bool, value: Any, path: Path) -> Problem | None:
        self.spend(1)
        if isinstance(schema, bool):
            return None if schema else Problem(path, "is not allowed here")
        if "type" in schema and (found := _type(self, schema["type"], value, path, schema)):
            return found
        for name, rule in schema.items():
            keyword = _KEYWORDS.get(name)
            if keyword is not None and (found := keyword(self, rule, value, path, schema)):
                return found
        return None

    def fits(self, schema: Mapping[str, Any] | bool, value: Any) -> bool:
        return self.problem(schema, value, ()) is None

    def same(self, one: Any, other: Any) -> bool:
        """JSON's equality: 1 is 1.0, but not true."""
        self.spend(1)
        if isinstance(one, bool) or isinstance(other, bool):
            return one is other
        if isinstance(one, Mapping):
            return (
                isinstance(other, Mapping)
                and len(one) == len(other)
                and all(name in other and self.same(value, other[name]) for name, value in one.items())
            )
        if isinstance(one, list):
            return (
                isinstance(other, list)
                and len(one) == len(other)
                and all(self.same(left, right) for left, right in zip(one, other, strict=True))
            )
        return bool(one == other)

    def frozen(self, value: Any) -> Any:
        """Return something hashable that is equal where the values are the same."""
        self.spend(1)
        if isinstance(value, bool):
            return ("bool", value)
        if isinstance(value, Mapping):
            return ("object", frozenset((name, self.frozen(each)) for name, each in value.items()))
        if isinstance(value, list):
            return ("list", tuple(self.frozen(each) for each in value))
        return ("number", number_key(value)) if _is_number(value) else ("plain", value)


Keyword = Callable[[_Check, Any, Any, Path, Mapping[str, Any]], Problem | None]


def _short(value: Any) -> str:
    text = str(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, Mapping),
}


def _type(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    names = [rule] if isinstance(rule, str) else rule
    if any(_TYPES[name](value) for name in names):
        return None
    return Problem(path, f"must be of type {' or '.join(names)}")


def _enum(check: _Check, rule: Sequence[Any], value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if any(check.same(each, value) for each in rule):
        return None
    return Problem(path, f"must be one of {_short(', '.join(_short(each) for each in rule[:20]))}")


def _const(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    return None if check.same(rule, value) else Problem(path, f"must be {_short(rule)}")


def _bound(text: str, kind: Callable[[Any], bool], holds: Callable[[Any, Any], bool]) -> Keyword:
    def keyword(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
        return Problem(path, f"{text} {_short(rule)}") if kind(value) and not holds(value, rule) else None

    return keyword


def _multiple(value: Any, rule: Any) -> bool:
    # As decimals, the way they were written: 0.3 is a multiple of 0.1.
    one, other = (each if isinstance(each, int) else Fraction(repr(each)) for each in (value, rule))
    return one % other == 0


def _pattern(check: _Check, rule: str, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, str) or re.search(rule, value):
        return None
    return Problem(path, f"must match {_short(rule)}")


def _required(check: _Check, rule: Sequence[str], value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, Mapping):
        return None
    check.spend(len(rule) // 8)
    missing = next((name for name in rule if name not in value), None)
    return None if missing is None else Problem((*path, missing), "is missing")


def _properties(check: _Check, rule: Mapping[str, Any], value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, Mapping):
        return None
    check.spend(len(value) // 8)
    for name, each in value.items():
        if name in rule and (found := check.problem(rule[name], each, (*path, name))):
            return found
    return None


def _additional(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, Mapping):
        return None
    known = schema.get("properties", {})
    check.spend(len(value) // 8)
    for name, each in value.items():
        if name not in known and (found := check.problem(rule, each, (*path, name))):
            return found
    return None


def _property_names(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, Mapping):
        return None
    for name in value:
        if found := check.problem(rule, name, (*path, name)):
            return Problem(found.path, f"is not a name that is allowed here: it {found.message}")
    return None


def _dependent_required(
    check: _Check, rule: Mapping[str, Any], value: Any, path: Path, schema: Mapping[str, Any]
) -> Problem | None:
    if not isinstance(value, Mapping):
        return None
    check.spend(len(rule) // 8)
    for name, names in rule.items():
        if name in value and (found := _required(check, names, value, path, schema)):
            return Problem(found.path, f"is missing beside {_short(name)}")
    return None


def _dependent_schemas(
    check: _Check, rule: Mapping[str, Any], value: Any, path: Path, schema: Mapping[str, Any]
) -> Problem | None:
    if not isinstance(value, Mapping):
        return None
    check.spend(len(rule) // 8)
    needed = [each for name, each in rule.items() if name in value]
    return _all_of(check, needed, value, path, schema)


def _prefix_items(check: _Check, rule: Sequence[Any], value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, list):
        return None
    pairs = enumerate(zip(rule, value, strict=False))
    return next((found for index, (each, item) in pairs if (found := check.problem(each, item, (*path, index)))), None)


def _items(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, list):
        return None
    first = len(schema.get("prefixItems", ()))
    for index in range(first, len(value)):
        if found := check.problem(rule, value[index], (*path, index)):
            return found
    return None


def _contains(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, list):
        return None
    count = sum(check.fits(rule, item) for item in value)
    if count < schema.get("minContains", 1):
        return Problem(path, "has too few elements of the kind that it must contain")
    if count > schema.get("maxContains", count):
        return Problem(path, "has too many elements of the kind that it must contain")
    return None


def _unique(check: _Check, rule: bool, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    if not rule or not isinstance(value, list):
        return None
    distinct = {check.frozen(each) for each in value}
    return None if len(distinct) == len(value) else Problem(path, "must not have the same element twice")


def _all_of(check: _Check, rule: Sequence[Any], value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    return next((found for each in rule if (found := check.problem(each, value, path))), None)


def _any_of(check: _Check, rule: Sequence[Any], value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    return None if any(check.fits(each, value) for each in rule) else Problem(path, "fits none of the alternatives")


def _one_of(check: _Check, rule: Sequence[Any], value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    count = sum(check.fits(each, value) for each in rule)
    if count == 1:
        return None
    return Problem(path, "fits more than one alternative" if count else "fits none of the alternatives")


def _not(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    return Problem(path, "is of a kind that is ruled out") if check.fits(rule, value) else None


def _if(check: _Check, rule: Any, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    branch = "then" if check.fits(rule, value) else "else"
    return check.problem(schema[branch], value, path) if branch in schema else None


def _ref(check: _Check, rule: str, value: Any, path: Path, schema: Mapping[str, Any]) -> Problem | None:
    return check.problem(check.defs[rule.removeprefix(REF_PREFIX)], value, path)


def _size(kind: type | tuple[type, ...]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


_KEYWORDS: Mapping[str, Keyword] = {
    "enum": _enum,
    "const": _const,
    "multipleOf": _bound("must be a multiple of", _is_number, _multiple),
    "minimum": _bound("must be at least", _is_number, lambda value, rule: value >= rule),
    "maximum": _bound("must be at most", _is_number, lambda value, rule: value <= rule),
    "exclusiveMinimum": _bound("must be more than", _is_number, lambda value, rule: value > rule),
    "exclusiveMaximum": _bound("must be less than", _is_number, lambda value, rule: value < rule),
    "minLength": _bound("must have a length of at least", _size(str), lambda value, rule: len(value) >= rule),
    "maxLength": _bound("must have a length of at most", _size(str), lambda value, rule: len(value) <= rule),
    "minItems": _bound("must have a number of elements of at least", _size(list), lambda value, rule: len(value) >= rule),
    "maxItems": _bound("must have a number of elements of at most", _size(list), lambda value, rule: len(value) <= rule),
    "minProperties": _bound("must have a number of members of at least", _size(dict), lambda value, rule: len(value) >= rule),
    "maxProperties": _bound("must have a number of members of at most", _size(dict), lambda value, rule: len(value) <= rule),
    "pattern": _pattern,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "prefixItems": _prefix_items,
    "items": _items,
    "contains": _contains,
    "uniqueItems": _unique,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "$ref": _ref,
}
CHECKED = frozenset({"type", "minContains", "maxContains", "then", "else", *_KEYWORDS})
"""The keywords that count here; all others say nothing."""
