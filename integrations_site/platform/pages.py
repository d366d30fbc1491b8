"""Redirects for people, and errors outside of any view: JSON in the API's shape below /api/, a page elsewhere."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.views import defaults
from django.views.decorators.http import require_safe


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The admin is the front page; it asks for a login. Members whom it would refuse are led to the staff's pages."""
    refused = request.user.is_authenticated and not request.user.is_staff
    return HttpResponseRedirect("/staff/" if refused else "/admin/")


@require_safe
def simulator(_request: HttpRequest) -> HttpResponse:
    """The simulators' control page; there is none outside of the demo."""
    if not settings.DEMO:
        raise Http404
    return HttpResponseRedirect(f"{settings.SIMULATOR_URL}/")


def _problem(status: int, code: str, detail: str) -> JsonResponse:
    kind = "server_error" if status >= 500 else "client_error"
    return JsonResponse({"type": kind, "errors": [{"code": code, "detail": detail, "attr": None}]}, status=status)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return _problem(400, "bad_request", "The request could not be read.")
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return _problem(403, "permission_denied", "You may not do this.")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return _problem(404, "not_found", "Not found.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    if _is_api(request):
        return _problem(500, "error", "Something broke here. The log knows more under this request's id.")
    return defaults.server_error(request)
