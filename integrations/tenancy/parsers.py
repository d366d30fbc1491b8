"""What the API takes for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import JSONParser

DEEPEST = 100
"""Levels of objects and lists within each other: more than any honest body has, and fewer than later steps could not follow."""


NO_TEXT = "This holds a lone surrogate, which is no text."
NO_NUMBER = "This holds a number beyond all bounds."


class HubJSONParser(JSONParser):
    """JSON that the hub can check, keep and answer with.

    Refused (400) beside what is no JSON: nesting deeper than `DEEPEST`; lone surrogates (`"\\ud800"`: no text that could be
    written anywhere) and numbers like 1e999, naming the member of the body that holds them.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        try:
            found = super().parse(stream, media_type, dict(parser_context or {}))
        except RecursionError:
            raise _too_deep() from None
        if not isinstance(found, dict):
            if problem := _problem(found, DEEPEST):
                raise ParseError(f"JSON parse error - {problem}")
            return found
        wrong = {}
        for name, value in found.items():
            if problem := _problem(name, 1) or _problem(value, DEEPEST - 1):
                wrong[name[:100].encode("utf-8", "replace").decode()] = [problem]
        if wrong:
            raise ValidationError(wrong)
        return found


def _problem(found: Any, levels: int) -> str:
    """Tell what is wrong with a value, empty where nothing is; raise `ParseError` where it has more levels than that."""
    here = [found]
    for _ in range(levels + 1):
        below: list[Any] = []
        for each in here:
            if isinstance(each, str):
                if not _is_text(each):
                    return NO_TEXT
            elif isinstance(each, float):
                if not math.isfinite(each):
                    return NO_NUMBER
            elif isinstance(each, dict):
                below += each
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return ""
        here = below
    raise _too_deep()


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep() -> ParseError:
    return ParseError(f"JSON parse error - nested deeper than {DEEPEST} levels.")
