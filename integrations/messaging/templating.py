"""Texts with variables: `{{ name }}` or `{{ order.number }}`, and nothing else. A text is never sent with a hole in it.

There are no conditions, loops or filters on purpose: office staff type templates, and what comes of them must be foreseeable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from html import escape
from typing import Any

VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)\s*\}\}")
UNWRITABLE = re.compile("[\0\ud800-\udfff]")
"""What neither the database nor a provider takes: null characters, and halves of a pair."""
LONGEST_VALUE = 2000


class TemplateError(ValueError):
    """The template itself is wrong; the text says where."""


class MissingVariables(ValueError):
    """`names` were not given, or are nothing that can be written down."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"Missing: {', '.join(names)}.")
        self.names = names


def check_template(text: str) -> None:
    """Raise `TemplateError` where braces are not a variable's."""
    rest = VARIABLE.sub(lambda found: " " * len(found.group()), text)
    for mark in ("{{", "}}", "{%", "%}"):
        at = rest.find(mark)
        if at >= 0:
            line = rest.count("\n", 0, at) + 1
            raise TemplateError(f"Line {line}: “{mark}” is no variable. Write {{{{ name }}}}.")


def variables_of(*texts: str) -> list[str]:
    """Return the names that these texts need, each once, in order of appearance."""
    return list(dict.fromkeys(name for text in texts for name in VARIABLE.findall(text)))


def render(text: str, data: Mapping[str, Any], *, html: bool = False) -> str:
    """Return the text with its variables filled in; with `html` the values are escaped. Raises `MissingVariables`."""
    values = {name: _value(data, name) for name in variables_of(text)}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise MissingVariables(missing)
    write: Callable[[str], str] = escape if html else str
    return VARIABLE.sub(lambda found: write(str(values[found[1]])), text)


def _value(data: Mapping[str, Any], name: str) -> str | None:
    found: Any = data
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, str | int | float | Decimal):
        return None
    text = str(found).strip()
    return text if text and len(text) <= LONGEST_VALUE and UNWRITABLE.search(text) is None else None
