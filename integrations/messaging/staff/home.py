"""Coming in: login, the tenant, the first page."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from integrations.messaging.models import Message
from integrations.messaging.staff.access import TENANT_KEY, Desk, View, keeps_headers, page, show, tenants_of, to_login
from integrations.messaging.staff.history import rows_of
from integrations.models import User

LAST = 8
"""Messages on the first page."""


@page()
@require_safe
def home(request: HttpRequest, desk: Desk) -> HttpResponse:
    """Where to go, and what went out last."""
    return show(request, desk, "home.html", {"rows": rows_of(desk, Message.objects.all()[:LAST])})


@keeps_headers
@require_http_methods(["GET", "HEAD", "POST"])
def pick_tenant(request: HttpRequest) -> HttpResponse:
    """Ask a person with several organisations for which one the next pages are."""
    if not request.user.is_authenticated:
        return to_login(request)
    user = request.user
    assert isinstance(user, User)  # noqa: S101 tells the type checker what is known
    tenants = tenants_of(user)
    target = request.POST.get("next") or request.GET.get("next") or ""
    if request.method == "POST" and request.POST.get("tenant") in tenants:
        request.session[TENANT_KEY] = request.POST["tenant"]
        safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
        return HttpResponseRedirect(target if safe and target.startswith("/staff/") else reverse("staff:home"))
    picked = request.session.get(TENANT_KEY)
    return show(request, None, "tenant.html", {"tenants": tenants.values(), "picked": picked, "next": target})


@method_decorator(never_cache, name="dispatch")
class _Login(LoginView):
    """For members, whether or not they may open the admin's console."""

    template_name = "staff/login.html"
    redirect_authenticated_user = True

    def get_default_redirect_url(self) -> str:
        return reverse("staff:home")


login: View = keeps_headers(_Login.as_view())
logout: View = keeps_headers(LogoutView.as_view(next_page=reverse_lazy("staff:login")))
