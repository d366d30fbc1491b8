"""How values are drawn on admin pages. Everything that comes from outside is escaped here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
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


def moment(value: datetime | str | None) -> SafeString:
    """Return a time to the second in the admin's time zone, on one line; a dash for none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return one_line(str(value))
    return one_line(f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}" if value else "-")


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
    "payment": "payments.payment",
    "dispute": "payments.dispute",
    "setup": "payments.setupintent",
    "payer_method": "payments.payermethod",
    "reconciliation": "payments.reconciliationrun",
    "message": "messaging.message",
    "inbound_message": "messaging.inboundmessage",
    "queue": "integrations.queueitem",
    "config": "integrations.config",
    "log": "integrations.calllog",
    "delivery": "webhooks_outbound.delivery",
    "receipt": "webhooks_inbound.receipt",
    "inbound_endpoint": "webhooks_inbound.inboundendpoint",
}
"""Object types, as references and timelines name them, that have a page."""


def reference(object_type: str, object_id: str | int, *, request: HttpRequest | None = None, short: bool = False) -> SafeString:
    """Return our object as a link to its page where it has one (and, given `request`, the person may open it).

    A dash for none; `short` leaves out the id.
    """
    if not object_id:
        return SafeString("-")
    text = object_type if short else f"{object_type} {object_id}"
    label = _PAGES.get(object_type, "")
    model = apps.get_model(label) if label else None
    page = admin.site._registry.get(model) if model is not None else None
    if page is None or (request is not None and not page.has_view_permission(request)):
        return format_html("{}", text)
    return link(reverse(f"admin:{label.replace('.', '_')}_change", args=[quote(object_id)]), text)
