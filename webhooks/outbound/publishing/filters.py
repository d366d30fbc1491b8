"""Content filters: which events an endpoint wants, by what they say.

A filter is a JSON object that is held against an event's body, `{"id", "type", "created", "data": {"object": {...}}}`. It names
members and what must be true of them; all of it must be true:

    {"data": {"object": {"currency": "KES", "amount": {"$gte": 100000}}}}      nested, or with dots:
    {"data.object.currency": "KES", "data.object.amount": {"$gte": 100000}}

What must be true of a member is written as

- a text, number, `true`, `false` or `null`: it is just that. Types are never changed: `1`, `"1"` and `true` are three things;
  only `1` and `1.0` are one. A member that is missing is not `null`.
- an object of members: the same, one level down. A name with dots is a path, unless a member has that very name.
- an object of operators:
  `$eq`, `$neq`                       is this, is not this
  `$gt`, `$gte`, `$lt`, `$lte`        number against number, text against text (ISO 8601 times in UTC compare well)
  `$in`, `$nin`                       is one of a list, is none of it
  `$startsWith`, `$endsWith`, `$contains`   of texts; capitals matter
  `$exist`                            `true`: the member is there, `null` or not; `false`: it is missing
- `$and`, `$or`: a list of filters (or of any of the above), all or one of which must be true; `$not`: one that must not be.
  They may stand at any level, beside others: `{"type": "order.created", "$or": [{"data.object.total": {"$gt": 5000}}, ...]}`.

Lists in the body: something is true of a list if it is true of any of its elements, and all that one object asks for (members
and operators) must be true of the same element. What negates (`$neq`, `$nin`, `$not`) is true where what it negates is not: of
a list if no element is so, of a missing member always. So `{"tags": {"$neq": "vip"}}` lets through what has no such tag.
`$exist`, `$and`, `$or` and the negations are asked of the list itself, not of each element.

Filters are at most 16 kB and 8 levels, with at most 100 conditions. A body so large that holding it against the filter takes
more than `BUDGET` comparisons is let through: rather an event too many than one too few. So are those that come after
all endpoints' filters together have taken `EVENT_BUDGET`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from webhooks.outbound.publishing.numbers import number_key

MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_BYTES = 16 * 1024
MAX_NAME = 500
BUDGET = 20_000
"""Comparisons of one filter with one body, at most: some hundredths of a second."""
EVENT_BUDGET = 400_000
"""Comparisons of one body with all filters, at most: below a second."""

_MISSING: Any = object()

AND, OR, NOT, EXIST = "$and", "$or", "$not", "$exist"
_ORDERING = frozenset({"$gt", "$gte", "$lt", "$lte"})
_LISTS = frozenset({"$in", "$nin"})
_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "$startsWith": str.startswith,
    "$endsWith": str.endswith,
    "$contains": str.__contains__,
}
_NEGATED = {"$neq": "$eq", "$nin": "$in"}
_OF_THE_VALUE = frozenset({AND, OR, NOT, EXIST, *_NEGATED})
"""Operators that are asked of a list itself, not of its elements."""

OPERATORS = frozenset({"$eq", *_ORDERING, *_LISTS, *_TEXTS, *_OF_THE_VALUE})


class InvalidFilter(ValueError):
    """The filter can't be understood; the text says where and why."""


class _TooLong(Exception):
    """The budget is used up."""


@dataclass(slots=True)
class Allowance:
    """What holding one body against many filters may still take, and how many of them let it through for want of that."""

    left: int = EVENT_BUDGET
    unasked: int = 0


# --- What is a filter -----------------------------------------------------------------------------------------------------


def check(rule: Any) -> None:
    """Raise `InvalidFilter` unless `rule` is a filter that `matches` understands. `{}` is one: it lets everything through."""
    if not isinstance(rule, dict):
        raise InvalidFilter("a filter is a JSON object")
    if rule:
        _Checking().filter(rule, "", 1)
    if len(json.dumps(rule, separators=(",", ":")).encode()) > MAX_BYTES:
        raise InvalidFilter(f"a filter is at most {MAX_BYTES // 1024} kB")


class _Checking:
    """One check; counts the conditions."""

    def __init__(self) -> None:
        self.conditions = 0

    def filter(self, rule: Any, path: str, depth: int) -> None:
        """What stands at the top, and within `$and`, `$or`, `$not` there: the body is an object, nothing else."""
        if not isinstance(rule, dict):
            raise _wrong(path, "a filter is a JSON object")
        for name in rule:
            if isinstance(name, str) and name in OPERATORS - {AND, OR, NOT}:
                raise _wrong(_join(path, name), "this operator needs a member in front of it")
        self.members(rule, path, depth, self.filter)

    def condition(self, rule: Any, path: str, depth: int) -> None:
        """What stands where something is said of a member."""
        if isinstance(rule, dict):
            self.members(rule, path, depth, self.condition)
        elif isinstance(rule, list):
            raise _wrong(path, "a list is no condition: write $in for one of several values")
        else:
            _scalar(rule, path)

    def members(self, rule: dict[Any, Any], path: str, depth: int, inner: Callable[[Any, str, int], None]) -> None:
        if depth > MAX_DEPTH:
            raise _wrong(path, f"filters are at most {MAX_DEPTH} levels deep")
        if not rule:
            raise _wrong(path, "an empty object says nothing")
        for name, wanted in rule.items():
            self.count(path)
            here = _join(path, str(name))
            if not isinstance(name, str) or not name.startswith("$"):
                _check_name(name, path)
                self.condition(wanted, here, depth + 1)
            elif name in (AND, OR):
                if not isinstance(wanted, list) or not wanted:
                    raise _wrong(here, "needs a list with at least one filter")
                for index, each in enumerate(wanted):
                    self.count(here)
                    inner(each, f"{here}.{index}", depth + 1)
            elif name == NOT:
                inner(wanted, here, depth + 1)
            else:
                _operand(name, wanted, here)

    def count(self, path: str) -> None:
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise _wrong(path, f"filters have at most {MAX_CONDITIONS} conditions")


def _operand(name: str, wanted: Any, path: str) -> None:
    if name not in OPERATORS:
        raise _wrong(path, f"there is no such operator; there are {', '.join(sorted(OPERATORS))}")
    if name == EXIST:
        if not isinstance(wanted, bool):
            raise _wrong(path, "needs true or false")
    elif name in _LISTS:
        if not isinstance(wanted, list) or not wanted:
            raise _wrong(path, "needs a list with at least one value")
        for index, each in enumerate(wanted):
            _scalar(each, f"{path}.{index}")
    elif name in _TEXTS:
        if not isinstance(wanted, str):
            raise _wrong(path, "needs a text")
        _scalar(wanted, path)
    elif name in _ORDERING:
        if isinstance(wanted, bool) or not isinstance(wanted, int | float | str):
            raise _wrong(path, "needs a number or a text")
        _scalar(wanted, path)
    else:
        _scalar(wanted, path)


def _scalar(value: Any, path: str) -> None:
    if value is None or isinstance(value, bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _wrong(path, "this is no number")
    elif isinstance(value, str):
        if not _storable(value):
            raise _wrong(path, "a text can't hold a null character or a lone surrogate")
    else:
        raise _wrong(path, "needs a text, a number, true, false or null")


def _check_name(name: Any, path: str) -> None:
    if not isinstance(name, str) or not name or len(name) > MAX_NAME or not _storable(name) or "" in name.split("."):
        raise _wrong(path, f"{str(name)[:50].encode('ascii', 'backslashreplace').decode()!r} is not the name of a member")


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _wrong(path: str, why: str) -> InvalidFilter:
    shown = path[:200].encode("ascii", "backslashreplace").decode()
    return InvalidFilter(f"{shown}: {why}" if shown else why)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# --- What it lets through -------------------------------------------------------------------------------------------------


def matches(rule: Mapping[str, Any] | None, body: Mapping[str, Any], allowance: Allowance | None = None) -> bool:
    """Tell whether `body` (`{id, type, created, data}`, as JSON gives it) passes; no filter lets everything through.

    `rule` has passed `check`. Never raises, whatever the body: one too large or too deep to be looked through passes. What it
    takes is taken from the `allowance`.
    """
    if not rule:
        return True
    shared = allowance or Allowance()
    budget = min(BUDGET, shared.left)
    holding = _Holding(budget)
    try:
        return holding.holds(rule, body)
    except (_TooLong, RecursionError):
        shared.unasked += 1
        return True
    finally:
        shared.left -= budget - max(0, holding.left)


def first_failure(rule: Mapping[str, Any] | None, body: Mapping[str, Any]) -> str | None:
    """Return the path, within the filter, of the first condition that does not hold; None where the body passes."""
    if matches(rule, body):
        return None
    try:
        return _Holding().failing(rule, body, "")
    except (_TooLong, RecursionError):  # looking for the reason takes longer than finding that there is one
        return ""


class _Holding:
    """One filter held against one body; counts the comparisons."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.left = budget
        self.sets: dict[int, frozenset[tuple[str, Any]]] = {}

    def failing(self, wanted: Any, found: Any, path: str) -> str:
        """Return where `wanted`, which does not hold, first fails."""
        if not isinstance(wanted, Mapping):
            return path
        for name, each in wanted.items():
            if self.holds({name: each}, found):
                continue
            here = _join(path, name)
            if name == AND:
                index = next(index for index, one in enumerate(each) if not self.holds(one, found))
                return self.failing(each[index], found, f"{here}.{index}")
            below = None if name.startswith("$") else _follow(found, name)
            return here if below is None else self.failing(each, below.value, here)
        return path  # of a list: each is true of some element, and no element has them all

    def holds(self, wanted: Any, found: Any) -> bool:
        """Tell whether what is asked for is true of a value (`_MISSING` where there is none)."""
        self.left -= 1
        if self.left < 0:
            raise _TooLong
        if not isinstance(wanted, Mapping):
            return self.any_element(found, lambda each: _equal(wanted, each))
        if not isinstance(found, list):
            return all(self.entry(name, each, found) for name, each in wanted.items())
        of_elements = {name: each for name, each in wanted.items() if name not in _OF_THE_VALUE}
        if len(of_elements) < len(wanted) and not all(
            self.operator(name, each, found) for name, each in wanted.items() if name in _OF_THE_VALUE
        ):
            return False
        return not of_elements or any(self.holds(of_elements, each) for each in found)

    def entry(self, name: str, wanted: Any, found: Any) -> bool:
        return self.operator(name, wanted, found) if name.startswith("$") else self.member(name, wanted, found)

    def member(self, name: str, wanted: Any, found: Any) -> bool:
        """Hold something against the member (or path) `name` of a value."""
        if isinstance(found, list):
            return any(self.member(name, wanted, each) for each in found)
        if _is_plain(found, name):
            return self.holds(wanted, _member(found, name))
        head, _, rest = name.partition(".")
        return self.member(rest, wanted, _member(found, head))

    def operator(self, name: str, wanted: Any, found: Any) -> bool:
        if name == AND:
            return all(self.holds(each, found) for each in wanted)
        if name == OR:
            return any(self.holds(each, found) for each in wanted)
        if name == NOT:
            return not self.holds(wanted, found)
        if name == EXIST:
            return (found is not _MISSING) is wanted
        if name in _NEGATED:
            return not self.operator(_NEGATED[name], wanted, found)
        if name == "$in":
            values = self.values_of(wanted)
            return self.any_element(found, lambda each: _key(each) in values)
        if name == "$eq":
            return self.any_element(found, lambda each: _equal(wanted, each))
        return self.any_element(found, lambda each: _compare(name, wanted, each))

    def values_of(self, wanted: list[Any]) -> frozenset[tuple[str, Any]]:
        """Return the values of an `$in` by kind; made once, since a list asks it of each element."""
        if id(wanted) not in self.sets:
            self.sets[id(wanted)] = frozenset(_key(each) for each in wanted)
        return self.sets[id(wanted)]

    def any_element(self, found: Any, test: Callable[[Any], bool]) -> bool:
        """Tell whether `test` is true of a value or, of a list, of an element at any depth."""
        self.left -= 1
        if self.left < 0:
            raise _TooLong
        if isinstance(found, list):
            return any(self.any_element(each, test) for each in found)
        return test(found)


@dataclass(frozen=True, slots=True)
class _Found:
    value: Any


def _follow(found: Any, path: str) -> _Found | None:
    """Return what stands at a path, None where it leads through a list: which element is meant can't be said."""
    if isinstance(found, list):
        return None
    if _is_plain(found, path):
        return _Found(_member(found, path))
    head, _, rest = path.partition(".")
    return _follow(_member(found, head), rest)


def _is_plain(found: Any, name: str) -> bool:
    """Tell whether a name is that of a member, not a path."""
    return "." not in name or (isinstance(found, Mapping) and name in found)


def _member(found: Any, name: str) -> Any:
    return found.get(name, _MISSING) if isinstance(found, Mapping) else _MISSING


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else ""


def _key(value: Any) -> tuple[str, Any]:
    """Return what stands for a value among those of an `$in`; objects and lists are none of them."""
    kind = _kind(value)
    return kind, number_key(value) if kind == "number" else value if kind else None


def _equal(wanted: Any, found: Any) -> bool:
    kind = _kind(found)
    return bool(kind) and kind == _kind(wanted) and wanted == found


def _compare(name: str, wanted: Any, found: Any) -> bool:
    if name in _TEXTS:
        return isinstance(found, str) and _TEXTS[name](found, wanted)
    if _kind(found) != _kind(wanted):
        return False
    if name == "$gt":
        return bool(found > wanted)
    if name == "$gte":
        return bool(found >= wanted)
    return bool(found < wanted) if name == "$lt" else bool(found <= wanted)
