"""The console's sidebar: what a person may open, in the order of daily work."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from integrations.models import User
from webhooks.outbound.portal.access import tenants_of

# Groups of title, icon and model; behind a question mark what its list shows.
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
            ("Dead letters", "unsubscribe", "webhooks_outbound.delivery?state__exact=failed"),
            ("Events", "bolt", "webhooks_outbound.event"),
            ("Event types", "label", "webhooks_outbound.eventtypedefinition"),
            ("Replays", "replay", "webhooks_outbound.replay"),
            ("Portal links", "link", "webhooks_outbound.portallink"),
            ("Retention", "auto_delete", "webhooks_outbound.retentionpolicy"),
            ("Inbound endpoints", "login", "webhooks_inbound.inboundendpoint"),
            ("Inbox", "inbox", "webhooks_inbound.receipt"),
            ("Turned away", "block", "webhooks_inbound.rejection"),
        ),
    ),
    (
        "Queue & logs",
        (
            ("Queue", "list_alt", "integrations.queueitem"),
            ("Call log", "swap_horiz", "integrations.calllog"),
            ("Log retention", "auto_delete", "integrations.logretention"),
            ("Alerts", "notifications", "integrations.alert"),
            ("Circuit breakers", "electrical_services", "integrations.breakerstate"),
            ("Processes", "monitor_heart", "integrations.heartbeat"),
            ("Audit", "history_edu", "integrations.auditentry"),
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
    groups = [_group("Overview", [_item("Overview", "space_dashboard", reverse("admin:index")), *_extras(request)])]
    for title, entries in GROUPS:
        items = [
            _model_item(request, name, icon, label, query)
            for name, icon, model in entries
            for label, _, query in [model.partition("?")]
            if label in pages and pages[label].has_view_permission(request)
        ]
        if items:
            groups.append(_group(title, items))
    return groups


@cache
def _names() -> Mapping[str, str]:
    """Return {address: title} of the lists that the sidebar names; not of parts of lists."""
    entries = [(name, model) for _, group in GROUPS for name, _, model in group if "?" not in model]
    return {reverse(f"admin:{model.replace('.', '_')}_changelist"): name for name, model in entries}


def name_of(url: str) -> str:
    """Return what the sidebar calls the list at this address; nothing where it has none."""
    return _names().get(url, "")


def _model_item(request: HttpRequest, name: str, icon: str, label: str, query: str) -> dict[str, Any]:
    url = reverse(f"admin:{label.replace('.', '_')}_changelist")
    if not query:
        return _item(name, icon, url)
    # Its rows' own pages belong to the whole list, so that only the list as it is linked here is "this" page.
    here = request.path == url and query in request.META.get("QUERY_STRING", "")
    return {**_item(name, icon, f"{url}?{query}"), "active": here}


def _extras(request: HttpRequest) -> list[dict[str, Any]]:
    links = [_item("Send & follow messages", "send", reverse("staff:home"))]
    if isinstance(request.user, User) and tenants_of(request.user):
        links.append(_item("Webhook portal", "webhook", reverse("portal:endpoints")))
    links.append(_item("API documentation", "menu_book", "/api/docs"))
    if settings.DEMO:
        links.append(_item("Simulators & phone", "smartphone", "/simulator/"))
    return links


def _item(title: str, icon: str, link: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": link}


def _group(title: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "items": items}
