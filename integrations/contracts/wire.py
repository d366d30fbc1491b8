"""Checked access to JSON that others wrote: a wrong shape is a typed failure, never a KeyError deep in an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any


class WireError(ValueError):
    """The data has not the shape it should have; the text names the path and never the value."""


class Wire:
    """A node of parsed JSON. `wire["a"]["b"].text()` raises `WireError` naming `a.b` where that is missing or no text."""

    __slots__ = ("path", "raw")

    def __init__(self, raw: Any, path: str = "") -> None:
        self.raw = raw
        self.path = path

    def __getitem__(self, key: str) -> Wire:
        path = f"{self.path}.{key}" if self.path else key
        if not isinstance(self.raw, dict) or key not in self.raw:
            raise WireError(f"{path} is missing")
        return Wire(self.raw[key], path)

    def get(self, key: str) -> Wire | None:
        """Return the member, or None where it is absent or null (or this is no object)."""
        if not isinstance(self.raw, dict) or self.raw.get(key) is None:
            return None
        return self[key]

    def items(self) -> Iterator[Wire]:
        if not isinstance(self.raw, list):
            raise WireError(f"{self.path or 'body'} is not a list")
        for index, value in enumerate(self.raw):
            yield Wire(value, f"{self.path}[{index}]")

    def text(self, *, max_length: int = 4000) -> str:
        """Return a string; a number is accepted and written as its digits, since providers switch between the two."""
        if isinstance(self.raw, bool) or not isinstance(self.raw, str | int | float):
            raise WireError(f"{self.path or 'body'} is not text")
        value = str(self.raw)
        if len(value) > max_length:
            raise WireError(f"{self.path or 'body'} is too long")
        return value

    def integer(self) -> int:
        text = self.text(max_length=40)
        try:
            return int(text)
        except ValueError:
            raise WireError(f"{self.path or 'body'} is not a whole number") from None

    def decimal(self) -> Decimal:
        try:
            value = Decimal(self.text(max_length=40))
        except InvalidOperation:
            raise WireError(f"{self.path or 'body'} is not a number") from None
        if not value.is_finite():
            raise WireError(f"{self.path or 'body'} is not a finite number")
        return value
