"""Who sits at the desk, for which tenant, and what they may do there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django_scopes import scope

from integrations.messaging.models import Channel, Message
from integrations.messaging.staff.unsaved import words_of
from integrations.models import Membership, Role, Tenant, User
from integrations.tenancy.channels import channels_of, role_may_send

TENANT_KEY = "staff_tenant"
CODES = "otp"
"""The category of one-time codes."""
OFFICE = (Channel.SMS, Channel.EMAIL)
"""The channels that have a page for writing."""
MANY_TENANTS = 200
"""How many tenants an operator is offered to pick from."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",  # what an e-mail's preview and the editor bring along
            "font-src 'self'",
            "img-src 'self' data: https:",
            "connect-src 'self'",
            "frame-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
}

View = Callable[..., HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Desk:
    """A person at work for one tenant. `channels` are those on which they may send; `several`: they have other tenants too."""

    user: User
    tenant: Tenant
    role: str
    channels: frozenset[str]
    several: bool

    @property
    def name(self) -> str:
        return f"user {self.user.get_username()}"

    @property
    def may_use_critical(self) -> bool:
        """Whether they may pick the categories that go out in spite of preferences and quiet hours."""
        return self.role == Role.ADMIN

    def may_send(self, channel: str) -> bool:
        return role_may_send(self.role, self.channels, channel)

    def hides(self, message: Message) -> bool:
        """Whether the message's words are not for this person's eyes: a one-time code opens what it was asked for."""
        return message.category == CODES and self.role != Role.ADMIN


def tenants_of(user: User) -> dict[str, Tenant]:
    """Return {slug: tenant} of those that a person may work for, by name."""
    active = Tenant.objects.filter(is_active=True)
    if not user.is_superuser:
        mine = Membership.unscoped.filter(user=user, is_active=True).values("tenant_id")
        active = active.filter(pk__in=mine)
    return {each.slug: each for each in active.order_by("name", "pk")[:MANY_TENANTS]}


def desk_of(request: HttpRequest) -> Desk | None:
    """Return the person's desk at the tenant picked in this session, or at the only one; None where one must be picked."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101 tells the type checker what the caller has seen to
    tenants = tenants_of(user)
    picked = tenants.get(request.session.get(TENANT_KEY, ""))
    tenant = next(iter(tenants.values())) if picked is None and len(tenants) == 1 else picked
    if tenant is None:
        return None
    if user.is_superuser:
        return Desk(user, tenant, Role.ADMIN, frozenset(Channel.values), len(tenants) > 1)
    mine = Membership.unscoped.get(user=user, tenant=tenant)
    return Desk(user, tenant, mine.role, channels_of(mine), len(tenants) > 1)


def keeps_headers(view: View) -> View:
    """Put the console's headers on whatever a view answers that has none of its own."""

    @wraps(view)
    def wrapper(request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        for name, value in HEADERS.items():
            if name not in response.headers:
                response[name] = value
        return response

    return wrapper


def page(*, sends: str = "", writes: bool = False) -> Callable[[Callable[..., HttpResponseBase]], View]:
    """Decorate a view `(request, desk, ...)`: log in, pick a tenant, check the role, enter the tenant's scope.

    `sends` names the channel that the page is for; `writes` keeps auditors out of pages that are for no channel alone.
    """

    def decorate(view: Callable[..., HttpResponseBase]) -> View:
        @wraps(view)
        def wrapper(request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not isinstance(request.user, User):
                return to_login(request)
            desk = desk_of(request)
            if desk is None:
                if not tenants_of(request.user):
                    return refuse(request, None, "You are not a member of any organisation. Ask an admin to add you.")
                return _go(request, f"{reverse('staff:tenant')}?{urlencode({'next': page_of(request)})}")
            with scope(tenant=desk.tenant):
                if sends and not desk.may_send(sends):
                    return refuse(request, desk, f"You may not send {Channel(sends).label} for {desk.tenant}.")
                if writes and desk.role == Role.AUDITOR:
                    return refuse(request, desk, "An auditor reads; sending is for the staff.")
                return view(request, desk, *args, **kwargs)

        return keeps_headers(wrapper)

    return decorate


def to_login(request: HttpRequest) -> HttpResponse:
    """Return the redirect to the login, which leads back here. What was posted is not done: it says so, and gives written words
    back to who wrote them, for the browser has them no more (the pages are not to be stored)."""
    if request.method != "POST":
        return _go(request, redirect_to_login(page_of(request), reverse("staff:login")).url)
    if _is_part(request):
        # A preview: whoever is writing keeps the page, for it holds the only copy of the words.
        return show(request, None, "ended.html")
    login_url = f"{reverse('staff:login')}?{urlencode({'next': page_of(request), 'lost': '1'}, safe='/')}"
    if written := words_of(request):
        return show(request, None, "unsaved.html", {"written": written, "login_url": login_url}, status=403)
    return HttpResponseRedirect(login_url)


def page_of(request: HttpRequest) -> str:
    """Return the address of the whole page that the person looks at: not that of a part of it, or of a button."""
    given = ""
    if _is_part(request):
        given = request.headers.get("HX-Current-URL", "")
    elif request.method == "POST":
        given = request.headers.get("Referer", "")
    parts = urlsplit(given) if url_has_allowed_host_and_scheme(given, {request.get_host()}) else None
    if parts is None or not parts.path.startswith(reverse("staff:home")):
        return request.get_full_path()
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def changed(request: HttpRequest, desk: Desk) -> bool:
    """Tell whether a posted form was drawn for another tenant than the one that the person works for now."""
    return request.POST.get("for") != desk.tenant.slug


def _is_part(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _go(request: HttpRequest, url: str) -> HttpResponse:
    """Lead the whole page there, also where only a part of it was asked for."""
    return HttpResponse(headers={"HX-Redirect": url}) if _is_part(request) else HttpResponseRedirect(url)


def show(
    request: HttpRequest, desk: Desk | None, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """Return a page drawn for this desk, now: within the tenant's scope."""
    given = {"desk": desk, "writes_on": [each for each in OFFICE if desk and desk.may_send(each)], **(context or {})}
    return render(request, f"staff/{template}", given, status=status)


def refuse(request: HttpRequest, desk: Desk | None, why: str) -> HttpResponse:
    """Return the page that says no, and why."""
    return show(request, desk, "refused.html", {"why": why}, status=403)


def show_changed(request: HttpRequest, desk: Desk) -> HttpResponse:
    """Return the page that says: this was written for another tenant, and nothing was sent."""
    return show(request, desk, "changed.html", {"next": request.get_full_path()}, status=409)
