"""Filling in variables: exactly what is written, or not at all."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.messaging.templating import MissingVariables, TemplateError, check_template, render, variables_of

TEXT = "Dear {{ name }}, {{order.total}} is due for {{ order.number }}. Thank you, {{ name }}."
DATA = {"name": "Jane", "order": {"total": Decimal("1500.50"), "number": 42}}


def test_variables_are_filled_in() -> None:
    assert render(TEXT, DATA) == "Dear Jane, 1500.50 is due for 42. Thank you, Jane."
    assert variables_of(TEXT) == ["name", "order.total", "order.number"]


def test_a_value_is_no_template_of_its_own() -> None:
    assert render("{{ a }}", {"a": "{{ b }}", "b": "no"}) == "{{ b }}"


def test_values_are_escaped_for_html_and_nowhere_else() -> None:
    data = {"name": '<b>"O\'Neil" & co'}
    assert render("<p>{{ name }}</p>", data, html=True) == "<p>&lt;b&gt;&quot;O&#x27;Neil&quot; &amp; co</p>"
    assert render("{{ name }}", data) == data["name"]


@pytest.mark.parametrize(
    "value", [None, "", "  ", True, [], {}, {"a": 1}, object(), "x" * 2001, "a\0b"], ids=lambda value: type(value).__name__
)
def test_what_can_not_be_written_down_is_missing(value: Any) -> None:
    with pytest.raises(MissingVariables) as caught:
        render("{{ a }} {{ b.c }} {{ d }}", {"a": value, "d": "there"})
    assert caught.value.names == ["a", "b.c"]


@pytest.mark.parametrize("value", ["0", 0, 0.5, Decimal("0")])
def test_zero_is_a_value(value: Any) -> None:
    assert render("{{ a }}", {"a": value}) == str(value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{{ name", 1),
        ("name }}", 1),
        ("one\ntwo {{ 1st }}", 2),
        ("{{ a b }}", 1),
        ("{{ a|upper }}", 1),
        ("{{}}", 1),
        ("one\n\n{% if a %}", 3),
        ("{{ a.__class__.b! }}", 1),
    ],
)
def test_braces_that_are_no_variable_are_refused_with_their_line(text: str, line: int) -> None:
    with pytest.raises(TemplateError, match=f"^Line {line}: "):
        check_template(text)


@pytest.mark.parametrize("text", ["", "no variables", "{ one } brace", "{{a}}{{ b.c_d.0 }}", "100 % {sure}"])
def test_what_is_fine(text: str) -> None:
    check_template(text)


def test_attributes_of_objects_are_out_of_reach() -> None:
    with pytest.raises(MissingVariables):
        render("{{ name.__class__ }}", {"name": "Jane"})


@settings(deadline=None)
@given(st.text(max_size=80))
def test_whatever_is_accepted_is_rendered_without_an_error(text: str) -> None:
    try:
        check_template(text)
    except TemplateError:
        return
    given: dict[str, Any] = {}
    for name in variables_of(text):
        node = given
        *parents, last = name.split(".")
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node.setdefault(last, "x")
    try:
        assert "{{" not in render(text, given)
    except MissingVariables:
        assert any(other.startswith(f"{name}.") for name in variables_of(text) for other in variables_of(text))
