"""Form bodies and query strings as data."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vendor_specs.forms import unfold


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("a", "1"), ("b", "")], {"a": "1", "b": ""}),
        ([("a", "1"), ("a", "2"), ("a", "3")], {"a": ["1", "2", "3"]}),
        ([("a[]", "1"), ("a[]", "2")], {"a": ["1", "2"]}),
        ([("a[1]", "y"), ("a[0]", "x")], {"a": ["x", "y"]}),
        ([("a[b][c]", "1"), ("a[b][d]", "2")], {"a": {"b": {"c": "1", "d": "2"}}}),
        ([("a[0][b]", "1"), ("a[1][b]", "2")], {"a": [{"b": "1"}, {"b": "2"}]}),
        ([("a[2]", "x")], {"a": {"2": "x"}}),
        ([("a", "1"), ("a[b]", "2")], {"a": ["1", "2"]}),
    ],
)
def test_unfolding(pairs: list[tuple[str, str]], expected: dict[str, Any]) -> None:
    assert unfold(pairs) == expected
