"""A short way for what the outside sends to `/hooks/` and the providers' fixed paths.

Such a request has no session, no user, no form and no page: of the long row of middleware it passes what guards it
(`settings.INBOUND_MIDDLEWARE`) and nothing else. Host names, security headers, keys in addresses, log and metrics are the same.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import structlog
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch
from django.utils.module_loading import import_string
from django_prometheus.middleware import Metrics
from django_structlog.app_settings import app_settings

from integrations.registry import webhook_adapters
from integrations.tenancy.network import address_of
from integrations_site.request_log import RequestLogMiddleware
from webhooks.inbound.urls import TOKEN_PATH
from webhooks.inbound.views import hook

logger = structlog.get_logger(__name__)

Handler = Callable[[HttpRequest], HttpResponse]
TOKEN_PATHS = "/hooks/"  # noqa: S105 a path


class InboundLane:
    """First of all middleware: takes the inbound paths out of the row that follows it."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response
        self._short = _short_way()
        self._fixed = frozenset(each.path for adapter in webhook_adapters().values() for each in adapter.fixed_paths)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if path.startswith(TOKEN_PATHS) or path in self._fixed:
            return self._short(request)
        return self._get_response(request)


def _short_way() -> Handler:
    """Return Django's own handling of a request (routes, exceptions, error pages) behind the few that stay."""
    django: Any = BaseHandler()  # what it keeps to itself is what a middleware in front of it needs
    django._view_middleware, django._template_response_middleware = [], []
    django._exception_middleware = [_count_exception]
    token_path, found = re.compile(TOKEN_PATH), ResolverMatch(hook, (), {}, url_name="hook", route="hooks/")

    def inner(request: HttpRequest) -> HttpResponse:
        match = token_path.match(request.path_info[1:])
        if match is None:
            response: HttpResponse = django._get_response(request)
            return response
        # The way to it through all routes of the hub takes longer than what is done there.
        request.resolver_match = found
        try:
            return hook(request, match["token"], match["purpose"] or "")
        except Exception as error:
            _count_exception(error, request)
            raise

    handler: Any = convert_exception_to_response(inner)
    for name in reversed(settings.INBOUND_MIDDLEWARE):
        handler = convert_exception_to_response(import_string(name)(handler))
    return cast(Handler, handler)


class InboundLog:
    """One log line and the metrics of each request: what `RequestLogMiddleware` and django-prometheus would say of it."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        structlog.contextvars.bind_contextvars(**_ids(request), ip=address_of(request))
        try:
            response = self._get_response(request)
            if not hasattr(request, "_raised_exception"):  # else its line is written by RequestLogMiddleware
                _write_line(request, response.status_code)
        finally:
            structlog.contextvars.clear_contextvars()
        match, method = request.resolver_match, request.method or ""
        view = (match.view_name if match is not None else "") or "<unnamed view>"
        known, took = Metrics.get_instance(), time.perf_counter() - began
        count, latency = _metrics(
            str(response.status_code),
            view,
            method if method in METHODS else "<invalid method>",
            "https" if request.is_secure() else "http",
            str(response.charset),
        )
        for each in count:
            each.inc()
        latency.observe(took)
        known.requests_latency_before.observe(took)
        length = request.META.get("CONTENT_LENGTH") or ""
        known.requests_body_bytes.observe(int(length) if length.isascii() and length.isdigit() else 0)
        known.responses_body_bytes.observe(len(response.content))
        return response


def _ids(request: HttpRequest) -> dict[str, str]:
    """Return the ids that the lines of this request share: the proxy's where `django_structlog` is set to trust it, else made
    here. They are stored, and who sends may be anybody: an id that is no word is none."""
    found = {}
    if app_settings.TRUST_UPSTREAM_REQUEST_ID:
        found["request_id"] = request.META.get("HTTP_X_REQUEST_ID", "")
    if app_settings.TRUST_UPSTREAM_CORRELATION_ID:
        found["correlation_id"] = request.META.get("HTTP_X_CORRELATION_ID", "")
    words = {name: value for name, value in found.items() if len(value) <= LONGEST_ID and _IS_WORD(value)}
    return words if "request_id" in words else {**words, "request_id": str(uuid.uuid4())}


LONGEST_ID = 200
_IS_WORD = re.compile(r"[!-~]+").fullmatch


def _count_exception(error: Exception, request: HttpRequest) -> None:
    known, match = Metrics.get_instance(), request.resolver_match
    known.exceptions_by_type.labels(type=type(error).__name__).inc()
    known.exceptions_by_view.labels(view=(match.view_name if match is not None else "") or "<unnamed view>").inc()


def _write_line(request: HttpRequest, status: int) -> None:
    """Of what was stored, for those who debug only: its line in the log of exchanges has this request's id and tells more."""
    stored = "receipt" in structlog.contextvars.get_contextvars()
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.DEBUG if stored else logging.INFO
    if logging.getLogger(__name__).isEnabledFor(level):
        logger.log(level, "request_finished", code=status, request=RequestLogMiddleware.format_request(request))


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PATCH"})


@cache
def _metrics(status: str, view: str, method: str, transport: str, charset: str) -> tuple[tuple[Any, ...], Any]:
    """Return the counters and the histogram of such an answer; looking each up by its labels takes longer than counting."""
    known = Metrics.get_instance()
    counters = (
        known.requests_total,
        known.responses_total,
        known.requests_by_method.labels(method=method),
        known.requests_by_transport.labels(transport=transport),
        known.requests_by_view_transport_method.labels(view=view, transport=transport, method=method),
        known.responses_by_status.labels(status=status),
        known.responses_by_charset.labels(charset=charset),
        known.responses_by_status_view_method.labels(status=status, view=view, method=method),
    )
    return counters, known.requests_latency_by_view_method.labels(view=view, method=method)
