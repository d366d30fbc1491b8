"""Who looks at the portal: a person who has logged in, or the holder of a link. The pages are the same for both.

A link has to work inside another site's frame, where browsers withhold cookies: its token stays in the path and is the whole
credential. So link pages neither read nor set cookies and need no CSRF token (another site can't know the address), send no
referrer, are stored nowhere, and may be framed only by the link's own list of origins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django_scopes import scope

from integrations.contracts.errors import ProviderError
from integrations.models import Membership, Role, Tenant, User
from integrations.tenancy.audit import Actor, acting
from integrations.tenancy.network import address_of
from webhooks.outbound.models import PortalLink
from webhooks.outbound.portal import links

TENANT_KEY = "portal_tenant"
MANY_TENANTS = 200
"""How many tenants an operator is offered to pick from."""
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "font-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
)

DONE = {
    "saved": "Saved.",
    "deleted": "The endpoint was deleted.",
    "on": "The endpoint is switched on. What was held is on its way.",
    "on-discarded": "The endpoint is switched on. What was held was discarded.",
    "off": "The endpoint is switched off. What it is owed is kept.",
    "resent": "It is due now and will be sent at once.",
    "test": "The test event is on its way: this page shows what comes of it.",
    "redriven": "They are due now and will be sent at once.",
    "cancelled": "Cancelled. What was queued before is still sent.",
    "revoked": "The link opens nothing any more.",
}
"""What a page says after something was done, by its `done` parameter: link pages have no session to keep it in."""

Page = Callable[..., HttpResponse]
View = Callable[..., HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody in the portal of one tenant. `link` is what opened it, None for a person who has logged in. `several`: that
    person has other tenants too."""

    tenant: Tenant
    name: str
    may_write: bool
    user: User | None = None
    link: PortalLink | None = None
    token: str = field(default="", repr=False)
    several: bool = False

    @property
    def only(self) -> str:
        """The one endpoint that the link is for; empty: all."""
        return (self.link.endpoint_id if self.link else None) or ""

    @property
    def may_add(self) -> bool:
        return self.may_write and not self.only

    def url(self, name: str, *args: str, **query: str) -> str:
        """Return the address of a page (`urls.PAGES`) as this visitor reaches it."""
        if self.link is None:
            address = reverse(f"portal:{name}", args=args)
        else:
            # The patterns name their parts: `args` fill them in their order, behind the token.
            address = reverse(f"portal:link:{name}", args=[self.token, *args])
        return f"{address}?{urlencode(query)}" if query else address


# --- Coming in --------------------------------------------------------------------------------------------------------------


def by_login(view: Page, *, writes: bool = False, adds: bool = False) -> View:
    """Return the view `(request, visitor, ...)` for people who have logged in. `writes`: posting to it changes something;
    `adds`: it is only for those who may make something new of the tenant's."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = _for_person(request, view, writes or adds, adds, args, kwargs)
        response["Referrer-Policy"] = "same-origin"
        return kept_private(response, "'none'")

    return wrapper


def by_link(view: Page, *, writes: bool = False, adds: bool = False) -> View:
    """Return the same view for the holders of links."""

    @wraps(view)
    def wrapper(request: HttpRequest, token: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        link = links.good_link(token, address_of(request))
        if link is None:
            return gone(request)
        visitor = Visitor(tenant=link.tenant, name=f"portal link {link.pk}", may_write=link.can_write, link=link, token=token)
        with scope(tenant=link.tenant), acting(Actor(visitor.name, address_of(request))):
            response = _answer(request, visitor, view, writes or adds, adds, args, kwargs)
        if link.frame_ancestors:
            response.xframe_options_exempt = True  # type: ignore[attr-defined]  # the header knows no list of origins
        return _link_headers(response, " ".join(link.frame_ancestors) or "'none'")

    return csrf_exempt(wrapper)


@csrf_exempt
def gone(request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """Answer for a link that opens nothing: unknown, expired and revoked look the same."""
    return _link_headers(render(request, "portal/gone.html", status=404), "'none'")


def _link_headers(response: HttpResponse, ancestors: str) -> HttpResponse:
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return kept_private(response, ancestors)


def kept_private(response: HttpResponse, ancestors: str) -> HttpResponse:
    """Put on what every page has: kept nowhere, nothing from elsewhere, framed by `ancestors` alone."""
    response["Cache-Control"] = "no-store"
    response["Content-Security-Policy"] = "; ".join((*POLICY, f"frame-ancestors {ancestors}"))
    return response


def _for_person(
    request: HttpRequest, view: Page, writes: bool, adds: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> HttpResponse:
    if not isinstance(request.user, User):
        back = request.get_full_path() if request.method in ("GET", "HEAD") else reverse("portal:endpoints")
        return _go(request, redirect_to_login(back, reverse("staff:login")).url)
    tenants = tenants_of(request.user)
    if not tenants:
        return refuse(request, None, "The portal is for the admins of an organisation: ask one to add you.")
    picked = tenants.get(request.session.get(TENANT_KEY, ""))
    tenant = next(iter(tenants.values())) if picked is None and len(tenants) == 1 else picked
    if tenant is None:
        return _go(request, f"{reverse('portal:tenant')}?{urlencode({'next': request.get_full_path()})}")
    user = request.user
    role = Role.ADMIN if user.is_superuser else Membership.unscoped.get(user=user, tenant=tenant).role
    visitor = Visitor(
        tenant=tenant, name=user.get_username(), may_write=role == Role.ADMIN, user=user, several=len(tenants) > 1
    )
    with scope(tenant=tenant), acting(Actor(visitor.name, address_of(request))):
        if request.method == "POST" and request.POST.get("for") != tenant.slug:
            return refuse(request, visitor, "That page was opened for another organisation: nothing was changed.", status=409)
        return _answer(request, visitor, view, writes, adds, args, kwargs)


def _answer(
    request: HttpRequest,
    visitor: Visitor,
    view: Page,
    writes: bool,
    adds: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> HttpResponse:
    if adds and not visitor.may_add:
        return refuse(request, visitor, "This is for admins who see all endpoints.")
    if writes and request.method == "POST" and not visitor.may_write:
        return refuse(request, visitor, "You may look here, and change nothing.")
    if visitor.only and kwargs.get("endpoint_id", visitor.only) != visitor.only:
        return missing(request, visitor)
    try:
        with timezone.override(visitor.tenant.zone):
            return view(request, visitor, *args, **kwargs)
    except (Http404, ObjectDoesNotExist):  # the latter: deleted between looking and acting
        return missing(request, visitor)
    except ProviderError as error:  # what the services refuse, in their own words
        return refuse(request, visitor, error.message, title="Not done", status=error.status_code)


def tenants_of(user: User) -> dict[str, Tenant]:
    """Return {slug: tenant} of those whose portal a person may open, by name: where admin or auditor, an operator all."""
    active = Tenant.objects.filter(is_active=True)
    if not user.is_superuser:
        mine = Membership.unscoped.filter(user=user, is_active=True, role__in=[Role.ADMIN, Role.AUDITOR]).values("tenant_id")
        active = active.filter(pk__in=mine)
    return {each.slug: each for each in active.order_by("name", "pk")[:MANY_TENANTS]}


# --- Answers ----------------------------------------------------------------------------------------------------------------


def show(
    request: HttpRequest, visitor: Visitor | None, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """Return a page drawn for this visitor, now: within the tenant's scope."""
    done = DONE.get(request.GET.get("done", ""), "")
    return render(request, f"portal/{template}", {"visitor": visitor, "done": done, **(context or {})}, status=status)


def refuse(
    request: HttpRequest, visitor: Visitor | None, why: str, *, title: str = "Not allowed", status: int = 403
) -> HttpResponse:
    """Return the page that says no, and why."""
    return show(request, visitor, "refused.html", {"why": why, "heading": title}, status=status)


def missing(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Return the page for what is not there, or is not this visitor's."""
    return refuse(request, visitor, "There is nothing here, or it is not yours to see.", title="Not found", status=404)


def to(visitor: Visitor, name: str, *args: str, **query: str) -> HttpResponseRedirect:
    """Lead to a page; `done` is one of `DONE`."""
    return HttpResponseRedirect(visitor.url(name, *args, **query))


def _go(request: HttpRequest, url: str) -> HttpResponse:
    """Lead the whole page there, also where only a part of it was asked for."""
    return HttpResponse(headers={"HX-Redirect": url}) if request.headers.get("HX-Request") else HttpResponseRedirect(url)
