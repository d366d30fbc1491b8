"""How values are drawn on admin pages. Everything that comes from outside is escaped here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.contracts.money import InvalidMoney, Money

COLOURS: Mapping[str, str] = {
    **dict.fromkeys(("success", "succeeded", "completed", "delivered", "ok", "closed", "active", "processed"), "success"),
    **dict.fromkeys(("failed", "open", "failing", "critical", "conflicted", "dead", "rejected"), "danger"),
    **dict.fromkeys(("unknown", "needs_review", "needs_attention", "held", "timeout", "warning", "half_open"), "warning"),
    **dict.fromkeys(("pending", "processing", "requires_action", "queued", "sent", "sending", "authorized"), "info"),
}
"""State -> colour, in the names that unfold knows; a state that is not listed stays grey."""


def badge(value: str, text: str = "") -> SafeString:
    """Return the state as a coloured label; a dash for none."""
    if not value:
        return SafeString("-")
    shown = text or value.replace("_", " ")
    return SafeString(render_to_string("unfold/helpers/label.html", {"type": COLOURS.get(value, ""), "text": shown}))


def pretty_json(value: Any) -> SafeString:
    """Return a value (or text that may be JSON) as an indented block, escaped; a dash for nothing."""
    if value in ("", None, {}, []):
        return SafeString("-")
    text = value
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return block(text)
    return block(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def block(text: str) -> SafeString:
    """Return text as it is, in a scrollable block of fixed width letters."""
    return SafeString(render_to_string("admin/hub/block.html", {"text": text})) if text else SafeString("-")


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "Nothing yet.") -> SafeString:
    """Return a small table; cells are escaped unless they are safe already. On a phone each row becomes a list."""
    labelled = [list(zip(headers, row, strict=True)) for row in rows]
    return SafeString(render_to_string("admin/hub/table.html", {"headers": headers, "rows": labelled, "empty": empty}))


def money(minor_units: int | None, currency: str) -> str:
    """Return `KES 1,500.00`; a dash for no amount."""
    if minor_units is None:
        return "-"
    try:
        return str(Money(minor_units, currency))
    except InvalidMoney:
        return f"{minor_units} minor units of {currency or 'no currency'}"


def moment(value: datetime | str | None) -> str:
    """Return a time to the second in the admin's time zone; a dash for none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}" if value else "-"


def when(field: str, title: str) -> Callable[[Any], SafeString]:
    """Return a list column that shows the time in `field` to the minute, sortable, on one line."""

    def column(obj: Any) -> SafeString:
        value: datetime | None = getattr(obj, field)
        text = f"{timezone.localtime(value):%Y-%m-%d %H:%M}" if value else "-"
        return format_html('<span class="whitespace-nowrap">{}</span>', text)

    column.short_description = title  # type: ignore[attr-defined]
    column.admin_order_field = field  # type: ignore[attr-defined]
    column.__name__ = f"when_{field}"
    return column


def one_line(text: str) -> SafeString:
    """Return text that a list does not break."""
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


def link(url: str, text: str) -> SafeString:
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)


def copyable(text: str) -> SafeString:
    """Return text in a field of its own with a button that copies it."""
    return SafeString(render_to_string("admin/hub/copyable.html", {"text": text}))


_PAGES = {
    "payment": "payments_payment",
    "message": "messaging_message",
    "queue": "integrations_queueitem",
    "config": "integrations_config",
    "delivery": "webhooks_outbound_delivery",
    "receipt": "webhooks_inbound_receipt",
    "call": "integrations_calllog",
}


def reference(object_type: str, object_id: str | int) -> SafeString:
    """Return our object as a link to its page where it has one; a dash for none."""
    if not object_id:
        return SafeString("-")
    name = _PAGES.get(object_type)
    try:
        url = reverse(f"admin:{name}_change", args=[quote(object_id)]) if name else ""
    except NoReverseMatch:
        url = ""
    text = f"{object_type} {object_id}"
    return link(url, text) if url else format_html("{}", text)
