"""The queue: what is to be done, what went wrong, and the two things a person may do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, FieldTextFilter
from unfold.decorators import action, display

from integrations.adminbase.base import Button
from integrations.adminbase.filters import RangeDateTimeFilter
from integrations.adminbase.large import LargeTableAdmin
from integrations.adminbase.render import badge, moment, pretty_json, reference, table, when
from integrations.contracts.errors import ProviderError
from integrations.models import CallLog, QueueItem, QueueState
from integrations.runtime.queue import cancel_item, retry_item
from integrations.runtime.selectors import expected_wait

RETRYABLE = (QueueState.FAILED, QueueState.CANCELLED, QueueState.PENDING)
CALLS_SHOWN = 50
ACTED_ON_AT_ONCE = 500


@admin.register(QueueItem)
class QueueItemAdmin(LargeTableAdmin):
    """Read-only but for retry and cancel, which the queue's own services carry out or refuse."""

    list_display = ("id", "kind", "shown_state", "about", "tried", when("due_at", "Due"), "shown_error")
    list_display_links = ("id", "kind")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("kind", FieldTextFilter),
        ("due_at", RangeDateTimeFilter),
        ("created", RangeDateTimeFilter),
    )
    found_by = ("reference_id",)
    read = ("kind", "key", "last_error")
    search_help_text = "A whole number or reference; else text in kind, key or last error of the newest"
    actions = ("retry_selected", "cancel_selected")
    buttons = (
        Button("retry", "Retry now", "replay", "primary"),
        Button("cancel", "Cancel", "cancel", "danger", "Cancel this work for good?"),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("kind", "shown_state"),
                    ("about", "config"),
                    ("tried", "priority"),
                    ("due_at", "not_after"),
                    ("waits",),
                    ("created", "finished_at"),
                    ("worker", "lease_until"),
                    ("last_error", "key"),
                )
            },
        ),
    )
    readonly_fields = ("shown_state", "about", "tried", "waits")
    panels = (
        ("Error history", "history"),
        ("Tries at the provider", "tries_table"),
        ("Calls", "calls"),
        ("Payload", "shown_payload"),
    )

    # --- what is shown ------------------------------------------------------------------------------------------------

    @display(description="State", ordering="state")
    def shown_state(self, obj: QueueItem) -> SafeString:
        return badge(obj.state)

    @display(description="About")
    def about(self, obj: QueueItem) -> SafeString:
        return reference(obj.reference_type, obj.reference_id)

    @display(description="Attempts", ordering="attempts")
    def tried(self, obj: QueueItem) -> str:
        return f"{obj.attempts} of {obj.max_attempts}"

    @display(description="Last error")
    def shown_error(self, obj: QueueItem) -> str:
        wait = expected_wait(obj)
        text = wait.text if wait is not None else obj.last_error
        return text if len(text) <= 80 else f"{text[:80]}…"

    @display(description="Expected wait")
    def waits(self, obj: QueueItem) -> str:
        wait = expected_wait(obj)
        return wait.text if wait is not None else "-"

    def history(self, request: HttpRequest, obj: QueueItem) -> SafeString:
        rows = [
            (moment(entry.get("at")), entry.get("attempt", ""), entry.get("error", ""), entry.get("detail", ""))
            for entry in reversed(obj.errors)
        ]
        return table(("When", "Attempt", "What", "Detail"), rows, empty="No errors.")

    def tries_table(self, request: HttpRequest, obj: QueueItem) -> SafeString:
        rows = [
            (moment(each.started_at), each.operation, badge(each.state), each.error_class or "-", each.detail or "-")
            for each in obj.tries.all()
        ]
        return table(("Started", "Operation", "State", "Error", "Detail"), rows)

    def calls(self, request: HttpRequest, obj: QueueItem) -> SafeString:
        found = CallLog.objects.filter(tenant_id=obj.tenant_id, item=obj)[:CALLS_SHOWN]
        rows = [(moment(row.created), reference("log", row.pk), row.operation, badge(row.status)) for row in found]
        return table(("When", "Log", "Operation", "Status"), rows)

    def shown_payload(self, request: HttpRequest, obj: QueueItem) -> SafeString:
        return pretty_json(obj.payload)

    # --- what can be done ---------------------------------------------------------------------------------------------

    def offers(self, request: HttpRequest, obj: QueueItem, button: Button) -> bool:
        return obj.state == QueueState.PENDING if button.name == "cancel" else obj.state in RETRYABLE

    def press_retry(self, request: HttpRequest, obj: QueueItem) -> str:
        retry_item(obj.pk, tenant_id=obj.tenant_id, by=request.user.get_username())
        return "It is pending again and will run at once."

    def press_cancel(self, request: HttpRequest, obj: QueueItem) -> str:
        cancel_item(obj.pk, tenant_id=obj.tenant_id, by=request.user.get_username())
        return "Cancelled."

    @action(description="Retry selected items", permissions=["act"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[QueueItem]) -> None:
        self._all(request, queryset, retry_item, "retried")

    @action(description="Cancel selected items", permissions=["act"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[QueueItem]) -> None:
        self._all(request, queryset, cancel_item, "cancelled")

    def _all(self, request: HttpRequest, items: QuerySet[QueueItem], service: Callable[..., Any], done: str) -> None:
        """Apply `service` to each item for itself: one that refuses keeps no other from being done."""
        count = 0
        for item in items[:ACTED_ON_AT_ONCE]:
            try:
                if not self.may_act(request, item):
                    self.message_user(request, f"{item}: your role does not allow this.", messages.ERROR)
                    continue
                service(item.pk, tenant_id=item.tenant_id, by=request.user.get_username())
            except ProviderError as error:
                self.message_user(request, f"{item}: {error.message}", messages.ERROR)
            else:
                count += 1
                self.log_change(request, item, f"{done} from the list")
        if count:
            self.message_user(request, f"{count} {'item' if count == 1 else 'items'} {done}.", messages.SUCCESS)
