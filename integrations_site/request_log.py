"""The log line of each request, without what would open a payer's page or carry a gateway's secret."""

from __future__ import annotations

from django.http import HttpRequest
from django_structlog.middlewares import RequestMiddleware

from integrations_site.private_paths import shown


class RequestLogMiddleware(RequestMiddleware):
    """See `django_structlog`; addresses as `private_paths.shown` says."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {shown(request.get_full_path())}"
