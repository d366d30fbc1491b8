"""Checks of request fields; each refuses with `400.002.02 Bad Request - Invalid <field>` (sheet sections 3, 4, 6, 13)."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Collection
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from integrations.providers.mpesa.simulator.envelope import NAIROBI, invalid, refuse
from integrations.simulators import SimRequest
from integrations.simulators.wire import Json

FORBIDDEN_IN_URLS = ("mpesa", "m-pesa", "safaricom", "exe", "exec", "cmd", "sql", "query")
MSISDN = re.compile(r"254[17]\d{8}")


def stk_password(business_code: str, passkey: str, timestamp: str) -> str:
    """Return base64(business short code + passkey + timestamp)."""
    return base64.b64encode(f"{business_code}{passkey}{timestamp}".encode()).decode()


def acceptable_url(value: Any) -> bool:
    """Return whether Daraja would take this callback URL. Own rule of the simulator: plain http for loopback hosts."""
    if not isinstance(value, str) or any(word in value.lower() for word in FORBIDDEN_IN_URLS):
        return False
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if not host or not port_is_valid or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _loopback(host))


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def whole(value: Any) -> int | None:
    """Return a whole number given as an int or a string of digits, else None (no decimals, not even `.0`)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value) else None


class Fields:
    """A request's JSON object with checked access."""

    def __init__(self, data: Json) -> None:
        self.data = data

    @classmethod
    def of(cls, request: SimRequest) -> Fields:
        """Read the body: a wrong content type is 400.002.02, a body that is no JSON object 400.002.05."""
        if request.content_type != "application/json":
            invalid("Content-Type")
        try:
            return cls(request.json())
        except ValueError:
            refuse("400.002.05", "Invalid Request Payload")

    def code(self, name: str) -> str:
        """A short code or till number: 5 to 7 digits, number or string."""
        value = str(self.data.get(name, ""))
        return value if re.fullmatch(r"\d{5,7}", value) else invalid(name)

    def msisdn(self, name: str) -> str:
        value = str(self.data.get(name, ""))
        return value if MSISDN.fullmatch(value) else invalid(name)

    def amount(self, name: str, lowest: int, highest: int) -> int:
        value = whole(self.data.get(name))
        return value if value is not None and lowest <= value <= highest else invalid(name)

    def text(self, name: str, shortest: int, longest: int) -> str:
        value = self.data.get(name)
        value = "" if value is None else value
        return value if isinstance(value, str) and shortest <= len(value) <= longest else invalid(name)

    def choice(self, name: str, choices: Collection[str]) -> str:
        value = str(self.data.get(name, ""))
        return value if value in choices else invalid(name)

    def url(self, name: str) -> str:
        value = self.data.get(name)
        return str(value) if acceptable_url(value) else invalid(name)

    def timestamp(self, name: str) -> str:
        value = str(self.data.get(name, ""))
        try:
            datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=NAIROBI)
        except ValueError:
            invalid(name)
        return value if len(value) == 14 else invalid(name)
