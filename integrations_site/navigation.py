"""The console's sidebar: what a person may open, in the order of daily work."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

# Groups of title, icon and model.
GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Payments",
        (
            ("Payments", "payments", "payments.payment"),
            ("Disputes", "gavel", "payments.dispute"),
            ("Reconciliation", "balance", "payments.reconciliationrun"),
            ("Stored payers", "credit_card", "payments.payermethod"),
            ("Setups", "add_card", "payments.setupintent"),
            ("Routing", "alt_route", "payments.routingrule"),
            ("Account numbers", "tag", "payments.allocationrule"),
        ),
    ),
    (
        "Messages",
        (
            ("Messages", "sms", "messaging.message"),
            ("Received", "inbox", "messaging.inboundmessage"),
            ("Templates", "article", "messaging.messagetemplate"),
            ("Notification rules", "notifications_active", "messaging.notificationrule"),
            ("Recurring messages", "event_repeat", "messaging.recurringmessage"),
            ("Fallback policies", "alt_route", "messaging.fallbackpolicy"),
            ("Devices", "smartphone", "messaging.device"),
            ("Suppressed addresses", "block", "messaging.suppression"),
            ("Preferences", "thumbs_up_down", "messaging.preference"),
            ("Categories", "category", "messaging.messagecategory"),
            ("Sending policies", "rule", "messaging.sendingpolicy"),
            ("Balances", "account_balance_wallet", "messaging.balancereading"),
            ("Unmatched reports", "question_mark", "messaging.unmatchedreport"),
        ),
    ),
    (
        "Webhooks",
        (
            ("Endpoints", "webhook", "webhooks_outbound.endpoint"),
            ("Deliveries", "outbox", "webhooks_outbound.delivery"),
            ("Events", "bolt", "webhooks_outbound.event"),
            ("Inbox", "inbox", "webhooks_inbound.receipt"),
        ),
    ),
    (
        "Queue & logs",
        (
            ("Queue", "list_alt", "integrations.queueitem"),
            ("Call log", "swap_horiz", "integrations.calllog"),
            ("Alerts", "notifications", "integrations.alert"),
            ("Circuit breakers", "electrical_services", "integrations.breakerstate"),
            ("Processes", "monitor_heart", "integrations.heartbeat"),
        ),
    ),
    (
        "Set-up",
        (
            ("Provider accounts", "key", "integrations.config"),
            ("Providers", "hub", "integrations.provider"),
            ("Provider grants", "handshake", "integrations.providergrant"),
            ("API keys", "vpn_key", "integrations.apikey"),
            ("Tenants", "domain", "integrations.tenant"),
        ),
    ),
    (
        "People",
        (
            ("Members", "group", "integrations.membership"),
            ("Users", "person", "integrations.user"),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return unfold's navigation with the pages that this person may see."""
    pages = {model._meta.label_lower: page for model, page in admin.site._registry.items()}
    groups = [_group("Overview", [_item("Overview", "space_dashboard", reverse("admin:index")), *_extras()])]
    for title, entries in GROUPS:
        items = [
            _item(name, icon, reverse(f"admin:{label.replace('.', '_')}_changelist"))
            for name, icon, label in entries
            if label in pages and pages[label].has_view_permission(request)
        ]
        if items:
            groups.append(_group(title, items))
    return groups


def _extras() -> list[dict[str, Any]]:
    links = [
        _item("Send & follow messages", "send", reverse("staff:home")),
        _item("API documentation", "menu_book", "/api/docs"),
    ]
    if settings.DEMO:
        links.append(_item("Simulators & phone", "smartphone", "/simulator/"))
    return links


def _item(title: str, icon: str, link: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": link}


def _group(title: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "items": items}
