"""The language of content filters: what each word means, what is refused, and the laws that hold for any filter and body."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhooks.outbound.publishing import filters
from webhooks.outbound.publishing.filters import Allowance, InvalidFilter, check, first_failure, matches
from webhooks.outbound.publishing.numbers import number_key

ORDER = {
    "id": "42",
    "total": 5390,
    "currency": "KES",
    "status": "processing",
    "paid": True,
    "coupon": None,
    "rate": 1.5,
    "customer": {"name": "Ada Okafor", "email": "ada@example.com"},
    "tags": ["wedding", "express"],
    "items": [{"product": "print", "quantity": 2}, {"product": "album", "quantity": 1, "options": [{"paper": "matt"}]}],
    "none": [],
    "metadata": {"shop.id": 7},
    "created": "2024-01-15T10:29:41Z",
}
BODY = {"id": "evt_1", "type": "order.created", "created": "2024-01-15T10:30:00Z", "data": {"object": ORDER}}


@pytest.mark.parametrize(
    ("condition", "passes"),
    [
        # What is said of a member is just that.
        ({"currency": "KES"}, True),
        ({"currency": "kes"}, False),
        ({"total": 5390}, True),
        ({"total": 5390.0}, True),
        ({"total": "5390"}, False),
        ({"paid": True}, True),
        ({"paid": 1}, False),
        ({"paid": "true"}, False),
        ({"coupon": None}, True),
        ({"missing": None}, False),
        ({"currency": "KES", "total": 1}, False),
        ({"customer": {"name": "Ada Okafor"}}, True),
        ({"customer.name": "Ada Okafor"}, True),
        ({"customer.name.first": "Ada"}, False),
        ({"metadata.shop.id": 7}, True),
        ({"metadata": {"shop.id": 7}}, True),
        # Operators.
        ({"total": {"$eq": 5390}}, True),
        ({"total": {"$neq": 5390}}, False),
        ({"missing": {"$neq": 5390}}, True),
        ({"total": {"$gt": 5390}}, False),
        ({"total": {"$gte": 5390, "$lt": 5391}}, True),
        ({"total": {"$lte": 5389.5}}, False),
        ({"total": {"$gt": "1"}}, False),
        ({"rate": {"$gt": 1}}, True),
        ({"paid": {"$gte": 0}}, False),
        ({"created": {"$gte": "2024-01-15T00:00:00Z", "$lt": "2024-01-16T00:00:00Z"}}, True),
        ({"status": {"$in": ["processing", "paid"]}}, True),
        ({"total": {"$in": ["5390", True]}}, False),
        ({"total": {"$in": [5390.0]}}, True),
        ({"paid": {"$in": [1]}}, False),
        ({"coupon": {"$in": [None]}}, True),
        ({"status": {"$nin": ["processing", "paid"]}}, False),
        ({"missing": {"$nin": ["a"]}}, True),
        ({"currency": {"$startsWith": "K"}}, True),
        ({"currency": {"$endsWith": "S", "$contains": "E"}}, True),
        ({"total": {"$contains": "5"}}, False),
        ({"coupon": {"$exist": True}}, True),
        ({"missing": {"$exist": True}}, False),
        ({"customer.phone": {"$exist": False}}, True),
        ({"missing.phone": {"$exist": False}}, True),
        # Logic, at any level.
        ({"$or": [{"total": 1}, {"currency": "KES"}]}, True),
        ({"currency": "USD", "$or": [{"total": 1}, {"currency": "KES"}]}, False),
        ({"$and": [{"total": 5390}, {"currency": "USD"}]}, False),
        ({"$not": {"currency": "USD"}}, True),
        ({"$not": {"missing": "USD"}}, True),
        ({"status": {"$not": "failed"}}, True),
        ({"status": {"$or": ["failed", "processing"]}}, True),
        ({"total": {"$or": [{"$lt": 5}, {"$gt": 5000}]}}, True),
        ({"customer": {"$or": [{"name": "x"}, {"email": {"$endsWith": "@example.com"}}]}}, True),
        # Lists of the body.
        ({"tags": "wedding"}, True),
        ({"tags": "vip"}, False),
        ({"tags": {"$neq": "vip"}}, True),
        ({"tags": {"$neq": "wedding"}}, False),
        ({"tags": {"$nin": ["vip", "express"]}}, False),
        ({"tags": {"$not": "wedding"}}, False),
        ({"tags": {"$startsWith": "exp"}}, True),
        ({"tags": {"$startsWith": "exp", "$endsWith": "ing"}}, False),
        ({"tags": {"$and": ["wedding", "express"]}}, True),
        ({"none": {"$exist": True}}, True),
        ({"none": {"$neq": "a"}}, True),
        ({"none": "a"}, False),
        ({"items": {"product": "print", "quantity": 2}}, True),
        ({"items": {"product": "print", "quantity": 1}}, False),
        ({"items.product": "print", "items.quantity": 1}, True),
        ({"items": {"product": {"$neq": "print"}}}, True),
        ({"$not": {"items": {"product": "print"}}}, False),
        ({"items.options.paper": "matt"}, True),
        ({"items.options": {"$exist": False}}, True),
        ({"items": {"product": "print", "$not": {"quantity": 9}}}, True),
    ],
)
def test_what_it_says(condition: dict[str, Any], passes: bool) -> None:
    rule = {"data": {"object": condition}}
    check(rule)
    assert matches(rule, BODY) is passes
    assert (first_failure(rule, BODY) is None) is passes


def test_dots_or_braces_are_the_same() -> None:
    assert matches({"data.object.customer.name": "Ada Okafor"}, BODY)
    assert matches({"data.object": {"customer": {"name": "Ada Okafor"}}}, BODY)
    assert matches({"type": "order.created", "data": {"object.total": {"$gt": 5000}}}, BODY)


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_filter_lets_everything_through(nothing: Any) -> None:
    assert matches(nothing, BODY)
    assert matches(nothing, {})
    assert first_failure(nothing, BODY) is None


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ([], "JSON object"),
        (None, "JSON object"),
        ("type", "JSON object"),
        ({"total": {"$above": 5}}, "total.$above: there is no such operator"),
        ({"$eq": 5}, "$eq: this operator needs a member in front of it"),
        ({"$or": [{"$gt": 5}]}, "$or.0.$gt: this operator needs"),
        ({"$where": "1"}, "$where: there is no such operator"),
        ({"a": [1, 2]}, "a: a list is no condition"),
        ({"a": {}}, "a: an empty object"),
        ({"$not": {}}, "$not: an empty object"),
        ({"$not": [{"a": 1}]}, "$not: a filter is a JSON object"),
        ({"$and": []}, "$and: needs a list"),
        ({"$or": {"a": 1}}, "$or: needs a list"),
        ({"$or": ["a"]}, "$or.0: a filter is a JSON object"),
        ({"a": {"$in": []}}, "a.$in: needs a list"),
        ({"a": {"$in": "x"}}, "a.$in: needs a list"),
        ({"a": {"$in": [[1]]}}, "a.$in.0: needs a text, a number"),
        ({"a": {"$eq": {"b": 1}}}, "a.$eq: needs a text, a number"),
        ({"a": {"$gt": True}}, "a.$gt: needs a number or a text"),
        ({"a": {"$lte": None}}, "a.$lte: needs a number or a text"),
        ({"a": {"$contains": 5}}, "a.$contains: needs a text"),
        ({"a": {"$exist": 1}}, "a.$exist: needs true or false"),
        ({"a": float("inf")}, "a: this is no number"),
        ({"a": "\x00"}, "a: a text can't hold"),
        ({"a": "\ud800"}, "a: a text can't hold"),
        ({"a\x00": 1}, "is not the name of a member"),
        ({"": 1}, "is not the name of a member"),
        ({"a..b": 1}, "is not the name of a member"),
        ({"a.": 1}, "is not the name of a member"),
        ({"x" * 501: 1}, "is not the name of a member"),
        ({f"m{number}": 1 for number in range(101)}, "at most 100 conditions"),
        ({"$or": [{"a": 1}] * 51}, "at most 100 conditions"),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}, "at most 8 levels"),
        ({"$not": {"$not": {"$not": {"$not": {"$not": {"$not": {"$not": {"$not": {"a": 1}}}}}}}}}, "at most 8 levels"),
        ({"a": {"$in": ["x" * 100] * 200}}, "at most 16 kB"),
    ],
)
def test_what_is_refused(rule: Any, why: str) -> None:
    with pytest.raises(InvalidFilter) as refused:
        check(rule)
    assert why in str(refused.value)
    str(refused.value).encode()


def test_what_is_just_within_bounds() -> None:
    check({f"m{number}": 1 for number in range(100)})
    check({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": 1}}}}}}}})
    check({"a": {"$in": ["x" * 100] * 150}})


def test_a_deep_filter_is_refused_and_not_followed() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(InvalidFilter, match="levels"):
        check(deep)


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({"type": "order.updated"}, "type"),
        ({"type": "order.created", "data": {"object": {"currency": "KES", "total": {"$gt": 9999}}}}, "data.object.total.$gt"),
        ({"data.object.total": {"$gt": 1, "$lt": 2}}, "data.object.total.$lt"),
        ({"data.object.items.quantity": {"$gt": 7}}, "data.object.items.quantity"),
        ({"data": {"object": {"$or": [{"total": 1}, {"total": 2}]}}}, "data.object.$or"),
        ({"$and": [{"type": "order.created"}, {"id": "evt_2"}]}, "$and.1.id"),
        ({"data": {"object": {"items": {"product": "print", "quantity": 1}}}}, "data.object.items"),
        ({"data": {"object": {"items": {"product": "print", "quantity": 7}}}}, "data.object.items.quantity"),
        ({"data": {"object": {"missing": {"deeper": 7}}}}, "data.object.missing.deeper"),
    ],
)
def test_the_reason_is_where_it_first_fails(rule: dict[str, Any], path: str) -> None:
    check(rule)
    assert first_failure(rule, BODY) == path


def test_what_is_too_large_to_look_through_passes() -> None:
    rule = {"data": {"object": {"items": {"quantity": 3, "$or": [{"quantity": number} for number in range(1, 40)]}}}}
    check(rule)
    large = {"data": {"object": {"items": [{"quantity": 0}] * (filters.BUDGET // 2)}}}
    assert matches(rule, {"data": {"object": {"items": [{"quantity": 0}]}}}) is False
    assert matches(rule, large) is True
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert matches({"a": 2}, {"a": deep}) is True


def test_a_long_list_of_values_costs_little_for_each_element() -> None:
    rule = {"data": {"object": {"items": {"sku": {"$in": [f"s{number}" for number in range(1500)]}}}}}
    check(rule)
    assert matches(rule, {"data": {"object": {"items": [{"sku": "t"}] * 5000}}}) is False
    assert matches(rule, {"data": {"object": {"items": [{"sku": "t"}] * 5000 + [{"sku": "s1499"}]}}}) is True


def test_all_filters_of_an_event_share_one_allowance() -> None:
    rule, body = {"a": {"$in": [1, 2]}}, {"a": [5] * 1000}
    allowance = Allowance(left=4500)
    assert [matches(rule, body, allowance) for _ in range(4)] == [False, False, True, True]
    assert (allowance.left, allowance.unasked) == (0, 2)
    assert matches(rule, {"a": 1}, Allowance()) is True


def test_numbers_that_hash_alike_are_kept_apart() -> None:
    alike = [number * (2**61 - 1) for number in range(1, 1000)]
    assert len({hash(each) for each in alike}) == 1
    assert len({hash(number_key(each)) for each in alike}) > 990
    assert matches({"a": {"$in": alike}}, {"a": alike[-1]}) is True
    assert matches({"a": {"$in": alike}}, {"a": alike[-1] + 1}) is False


@pytest.mark.parametrize("number", [0, 1, -1, 2**53, 2**60, -(2**70)])
def test_a_number_is_the_same_with_and_without_a_point(number: int) -> None:
    assert number_key(number) == number_key(float(number))
    assert number_key(number) != number_key(number + 1)


# --- Laws -----------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, 1.0, 1.5]), st.sampled_from(["", "a", "ab", "1"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)), max_leaves=12
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=3)
COMPARABLE = st.one_of(st.integers(-3, 3), st.sampled_from(["", "a", "ab"]))
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$neq"]), SCALARS),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), COMPARABLE),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, min_size=1, max_size=3)),
    st.tuples(st.sampled_from(["$startsWith", "$endsWith", "$contains"]), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("$exist"), st.booleans()),
)
PATHS = st.lists(NAMES, min_size=1, max_size=2).map(".".join)


def _objects(inner: st.SearchStrategy[Any], *, top: bool) -> st.SearchStrategy[dict[str, Any]]:
    entries = [
        st.tuples(PATHS, CONDITIONS),
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=2)),
        st.tuples(st.just("$not"), inner),
    ]
    return st.lists(st.one_of(*entries, *([] if top else [OPERATIONS])), min_size=1, max_size=2).map(dict)


CONDITIONS: st.SearchStrategy[Any] = st.deferred(lambda: st.one_of(SCALARS, OPERATIONS.map(lambda one: dict([one])), _OBJECTS))
_OBJECTS: st.SearchStrategy[Any] = st.deferred(lambda: _objects(CONDITIONS, top=False))
FILTERS: st.SearchStrategy[Any] = st.deferred(lambda: _objects(FILTERS, top=True))


def is_filter(rule: Any) -> bool:
    try:
        check(rule)
    except InvalidFilter:
        return False
    return True


GOOD = FILTERS.filter(is_filter)


@settings(max_examples=200, deadline=None)
@given(rule=GOOD, other=GOOD, body=BODIES)
def test_the_laws_of_logic(rule: dict[str, Any], other: dict[str, Any], body: dict[str, Any]) -> None:
    one, two = matches(rule, body), matches(other, body)
    assert matches({"$not": rule}, body) is not one
    assert matches({"$and": [rule, other]}, body) is (one and two)
    assert matches({"$or": [rule, other]}, body) is (one or two)
    assert matches({"$not": {"$or": [rule, other]}}, body) is matches({"$and": [{"$not": rule}, {"$not": other}]}, body)
    assert (first_failure(rule, body) is None) is one


@settings(max_examples=200, deadline=None)
@given(path=PATHS, wanted=SCALARS, values=st.lists(SCALARS, min_size=1, max_size=3), body=BODIES)
def test_the_laws_of_a_member(path: str, wanted: Any, values: list[Any], body: dict[str, Any]) -> None:
    head, _, rest = path.partition(".")
    assert matches({path: wanted}, body) is matches({path: {"$eq": wanted}}, body)
    assert matches({path: wanted}, body) is matches({head: {rest: wanted} if rest else wanted}, body)
    assert matches({path: {"$in": values}}, body) is any(matches({path: value}, body) for value in values)
    if not isinstance(body.get(head), list):  # of a list it is asked of its elements
        assert matches({path: {"$neq": wanted}}, body) is not matches({path: wanted}, body)
        assert matches({path: {"$nin": values}}, body) is not matches({path: {"$in": values}}, body)
        assert matches({path: {"$exist": False}}, body) is not matches({path: {"$exist": True}}, body)


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5) | NAMES, inner, max_size=4)),
    max_leaves=20,
)
WORDS = st.one_of(NAMES, st.sampled_from(sorted(filters.OPERATORS)), st.text(max_size=4))
MESS = st.recursive(
    ANYTHING, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)), max_leaves=20
)


@settings(max_examples=200, deadline=None)
@given(rule=MESS, body=ANYTHING)
def test_any_filter_is_refused_or_understood(rule: Any, body: Any) -> None:
    if is_filter(rule):
        assert matches(rule, body) is (first_failure(rule, body) is None)


@settings(max_examples=200, deadline=None)
@given(rule=GOOD, body=ANYTHING)
def test_no_body_breaks_it(rule: dict[str, Any], body: Any) -> None:
    assert matches(rule, {"a": body, "b": [body]}) in (True, False)
