"""What the simulated Pesapal checks in a request (documentation's field table; stricter rather than laxer)."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import NoReturn
from urllib.parse import urlsplit

from integrations.providers.pesapal.simulator.envelope import refuse
from integrations.simulators import SimRequest
from integrations.simulators.wire import Json

BAD = "invalid_api_request_parameters"
BAD_KIND = "invalid_request_error"


class Fields:
    """A JSON body with checked access; what does not fit is refused as Pesapal does, naming the field."""

    def __init__(self, data: Json) -> None:
        self.data = data

    @classmethod
    def of(cls, request: SimRequest) -> Fields:
        if request.content_type != "application/json":
            refuse(BAD, "Content-Type must be application/json", BAD_KIND)
        try:
            return cls(request.json())
        except ValueError:
            refuse(BAD, "The body is not a JSON object", BAD_KIND)

    def text(self, name: str, longest: int = 4000, *, required: bool = True, pattern: str = "") -> str:
        value = self.data.get(name)
        if value in (None, "") and not required:
            return ""
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            self._refuse(name)
        if pattern and not re.fullmatch(pattern, value):
            self._refuse(name)
        return value

    def url(self, name: str, *, required: bool = True) -> str:
        value = self.text(name, 2000, required=required)
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            self._refuse(name)
        return value

    def amount(self, name: str, *, numeric_text: bool = False) -> Decimal:
        """Return an amount above zero with at most two decimals, from a number (or from text where that is allowed)."""
        value = self.data.get(name)
        kinds: tuple[type, ...] = (int, float, str) if numeric_text else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            self._refuse(name)
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self._refuse(name)
        if not amount.is_finite() or amount <= 0 or amount != round(amount, 2):
            self._refuse(name)
        return amount

    def inner(self, name: str) -> Fields:
        value = self.data.get(name)
        if not isinstance(value, dict):
            self._refuse(name)
        return Fields(value)

    def _refuse(self, name: str) -> NoReturn:
        refuse(BAD, f"Invalid {name} provided. Check format and try again", BAD_KIND)
