"""Endpoints: what each wants and how it is sent, how it fares, and what a person may do about that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Min, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.render import badge, moment, reference, table, when
from integrations.contracts import clock
from integrations.secrets import SecretUnreadable
from webhooks.outbound.admin.endpoint_forms import EndpointForm, RecoverForm, RotateForm, SwitchOnForm
from webhooks.outbound.delivery.health import DISABLE_AFTER, DISABLE_FAILURES
from webhooks.outbound.endpoints import services
from webhooks.outbound.endpoints.urls import masked_url
from webhooks.outbound.models import Breaker, Delivery, DeliveryState, Endpoint, EndpointHealth
from webhooks.outbound.recovery.replays import start_replay
from webhooks.outbound.signing import in_use

ROWS_SHOWN = 50
CREATED = when("created", "Created")
SHOWN_ONCE = "Give it to the receiving system now: it checks our signatures with it. It can't be shown again."
WHAT = ["name", "url", "events", "channels", "filter"]
HOW = ["payload_format", "ordering", ("batch_size", "batch_wait"), "own_headers"]
LIMITS = [("max_in_flight", "rate_per_second"), "retry_delays"]


@admin.register(Endpoint)
class EndpointAdmin(TenantScopedAdmin):
    """Made and changed through the services; a signing secret is shown once, header values never."""

    can_add = can_change = can_delete = True
    form = EndpointForm
    list_display = ("shown_name", "shown_url", "shown_events", "state", "shown_breaker", CREATED)
    list_filter = (("is_active", BooleanRadioFilter), ("health__breaker", ChoicesDropdownFilter))
    search_fields = ("name", "id")
    related = ("health",)
    buttons = (
        Button("test", "Send a test event", "send", "primary"),
        Button("rotate", "Rotate the secret", "key", form=RotateForm),
        Button("recover", "Send events again", "replay", form=RecoverForm),
        Button("enable", "Switch on", "toggle_on", "primary", form=SwitchOnForm),
        Button("disable", "Switch off", "toggle_off", confirm="What happens from now on is kept until it is on again."),
    )
    actions = None
    readonly_fields = ("shown_url", "state", "created", "updated")
    panels = (
        ("Health", "health_table"),
        ("What it is owed", "backlog"),
        ("Signing keys", "keys_table"),
        ("Last deliveries", "last_deliveries"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Endpoint]:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    def get_search_fields(self, request: HttpRequest) -> Any:
        # Who sees a URL masked must not find out the rest by searching for it.
        return (*self.search_fields, "url") if self.may_act(request) else self.search_fields

    def declared_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        what, how, limits = list(WHAT), list(HOW), list(LIMITS)
        if obj is None:
            how += ["scheme", "secret"]
            limits += ["is_active"]
        elif obj.masked_headers() is None:
            how.remove("own_headers")
        if not (self.has_change_permission(request, obj) if obj is not None else self.has_add_permission(request)):
            what[what.index("url")] = "shown_url"
        declared: list[Any] = [
            ("What it gets", {"fields": what}),
            ("How it is sent", {"fields": how}),
            ("Limits", {"fields": limits}),
        ]
        if obj is not None:
            declared.append(("About", {"fields": ("state", ("created", "updated"))}))
        return declared

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is not None:  # a key is made with the endpoint; later there is a button
            for name in ("scheme", "secret"):
                form.base_fields.pop(name, None)
        return form

    # --- columns and fields -------------------------------------------------------------------------------------------

    @display(description="Endpoint", ordering="name")
    def shown_name(self, obj: Endpoint) -> str:
        return obj.name or obj.pk

    @display(description="URL", ordering="url")
    def shown_url(self, obj: Endpoint) -> str:
        """A URL may hold a token: whole it stands only in the form of who may change it."""
        return masked_url(obj.url)

    @display(description="Events")
    def shown_events(self, obj: Endpoint) -> str:
        return ", ".join(map(str, obj.events))

    @display(description="State", ordering="is_active")
    def state(self, obj: Endpoint) -> SafeString:
        if obj.is_active:
            return badge("active")
        return badge("failed", f"switched off: {obj.disabled_reason}") if obj.disabled_reason else badge("off")

    @display(description="Breaker", ordering="health__breaker")
    def shown_breaker(self, obj: Endpoint) -> SafeString:
        health = getattr(obj, "health", None)
        return badge(health.breaker if health is not None else Breaker.CLOSED)

    @display(description="Own headers")
    def own_headers(self, obj: Endpoint) -> str:
        """What who may only read sees in the field's place."""
        return "\n".join(f"{name}: {value}" for name, value in (obj.masked_headers() or {}).items()) or "-"

    # --- panels -------------------------------------------------------------------------------------------------------

    def health_table(self, request: HttpRequest, obj: Endpoint) -> SafeString:
        health = EndpointHealth.objects.filter(endpoint=obj).first()
        if health is None:
            return table(("Measure", "Now"), [], empty="Nothing is known yet.")
        until = f" until {moment(health.breaker_until)}" if health.breaker == Breaker.OPEN else ""
        rows = [
            ("Breaker", SafeString(badge(health.breaker) + until)),
            ("Failures in a row", f"{health.failures:,}"),
            ("Failing since", moment(health.failing_since)),
            ("On the way to being switched off", f"{_progress(health)} %"),
            ("Paused until", moment(health.paused_until if _ahead(health.paused_until) else None)),
            ("Last success", moment(health.last_success_at)),
            ("Last failure", moment(health.last_failure_at)),
        ]
        return table(("Measure", "Now"), rows)

    def backlog(self, request: HttpRequest, obj: Endpoint) -> SafeString:
        now = clock.now()
        mine = Delivery.objects.filter(endpoint=obj)
        pending = mine.filter(state=DeliveryState.PENDING).aggregate(
            number=Count("pk"), due=Count("pk", filter=Q(due_at__lte=now)), oldest=Min("due_at", filter=Q(due_at__lte=now))
        )
        age = f"{timedelta(seconds=int((now - pending['oldest']).total_seconds()))}" if pending["oldest"] else "-"
        rows = [
            ("Due now", f"{pending['due']:,}"),
            ("Due the longest (h:mm:ss)", age),
            ("On its way, or waiting for its next try", f"{pending['number'] - pending['due']:,}"),
            ("Gathering for a batch", f"{mine.filter(state=DeliveryState.GATHERING).count():,}"),
        ]
        if not obj.is_active:
            rows.append(("Held until it is on again", f"{mine.filter(state=DeliveryState.HELD).count():,}"))
        return table(("Which", "Deliveries"), rows)

    def keys_table(self, request: HttpRequest, obj: Endpoint) -> SafeString:
        try:
            keys = in_use(obj.signing_keys(), clock.now())
        except SecretUnreadable:
            return badge("failed", "They can't be opened: is their encryption key missing?")
        rows = [(key["id"], key["scheme"], moment(key["created"]), moment(key["expires_at"])) for key in keys]
        return table(("Key", "Scheme", "Made", "Signs until"), rows)

    def last_deliveries(self, request: HttpRequest, obj: Endpoint) -> SafeString:
        found = Delivery.objects.filter(endpoint=obj).select_related("event")[:ROWS_SHOWN]
        rows = [
            (moment(each.created), each.event.type, reference("delivery", each.pk), badge(each.state), each.attempts)
            for each in found
        ]
        return table(("Created", "Type", "Delivery", "State", "Attempts"), rows)

    # --- saving -------------------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Endpoint, form: Any, change: bool) -> None:
        if not self.may_act(request, obj):
            raise PermissionDenied
        given = {name: value for name, value in form.checked.items() if name != "held"}
        if change:
            known = {*services.PLAIN_FIELDS, "headers"}
            services.update_endpoint(
                endpoint_id=obj.pk, changes={name: value for name, value in given.items() if name in known}
            )
            return
        made, secret = services.create_endpoint(tenant=obj.tenant, **given)
        obj.pk = made.pk
        request._hub_secret = secret  # type: ignore[attr-defined]

    def delete_model(self, request: HttpRequest, obj: Endpoint) -> None:
        services.delete_endpoint(endpoint_id=obj.pk)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Nothing is removed with it: deleting is soft, its deliveries stay readable."""
        return [str(obj) for obj in objs], {}, set(), []

    def response_add(self, request: HttpRequest, obj: Endpoint, post_url_continue: str | None = None) -> HttpResponse:
        secret = request._hub_secret  # type: ignore[attr-defined]
        return self._shown_secret(request, obj, secret)

    def _shown_secret(self, request: HttpRequest, obj: Endpoint, secret: str) -> HttpResponse:
        return self.shown_once(
            request, obj, title="The endpoint's signing secret", label=str(obj), value=secret, hint=SHOWN_ONCE
        )

    # --- buttons ------------------------------------------------------------------------------------------------------

    def offers(self, request: HttpRequest, obj: Endpoint, button: Button) -> bool:
        return button.name == "rotate" or obj.is_active == (button.name != "enable")

    def press_test(self, request: HttpRequest, obj: Endpoint) -> str:
        delivery = services.send_test(endpoint=obj)
        return f"A test event is on its way: delivery {delivery.pk}."

    def press_rotate(self, request: HttpRequest, obj: Endpoint, data: dict[str, Any]) -> HttpResponse:
        _endpoint, key = services.rotate_secret(endpoint_id=obj.pk, overlap=data["overlap"], scheme=data["scheme"])
        return self._shown_secret(request, obj, key["secret"])

    def press_recover(self, request: HttpRequest, obj: Endpoint, data: dict[str, Any]) -> str:
        replay = start_replay(
            endpoint=obj,
            since=clock.now() - data["hours"],
            mode=data["mode"],
            types=data["types"],
            requested_by=str(request.user),
        )
        return f"{replay.total:,} events are being sent again: see {replay.pk} among the replays."

    def press_enable(self, request: HttpRequest, obj: Endpoint, data: dict[str, Any]) -> str:
        services.update_endpoint(endpoint_id=obj.pk, changes={"is_active": True}, held=data["held"])
        return "It is on again." if data["held"] == "send" else "It is on again; what was kept is discarded."

    def press_disable(self, request: HttpRequest, obj: Endpoint) -> str:
        services.update_endpoint(endpoint_id=obj.pk, changes={"is_active": False})
        return "It is off. What happens from now on is kept for it."


def _progress(health: EndpointHealth) -> int:
    """Return how far the endpoint is on the way to being switched off, in per cent: by time and by failures, both."""
    if health.failing_since is None:
        return 0
    by_time = (clock.now() - health.failing_since) / DISABLE_AFTER
    return min(100, int(100 * min(by_time, health.failures / DISABLE_FAILURES)))


def _ahead(at: Any) -> bool:
    return at is not None and at > clock.now()
