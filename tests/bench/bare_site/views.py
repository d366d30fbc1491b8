from __future__ import annotations

import hmac
import os

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.bench.bare_site.models import Taken

SECRET = os.environ.get("BARE_SECRET", "").encode()


def plain(request: HttpRequest) -> HttpResponse:
    """Signed as a generic source signs: the HMAC of the body."""
    return _take(request, request.headers.get("X-Signature", ""), request.body)


def timestamped(request: HttpRequest) -> HttpResponse:
    """Signed as Stripe signs: `t=...,v1=...`."""
    parts = dict(part.split("=", 1) for part in request.headers.get("Stripe-Signature", "").split(","))
    return _take(request, parts.get("v1", ""), parts.get("t", "").encode() + b"." + request.body)


def _take(request: HttpRequest, signature: str, content: bytes) -> HttpResponse:
    if not hmac.compare_digest(signature, hmac.new(SECRET, content, "sha256").hexdigest()):
        return HttpResponse(status=401)
    Taken.objects.create(body=request.body)
    # The length keeps the connection open; Django's CommonMiddleware would say it.
    return HttpResponse(b"{}", content_type="application/json", headers={"Content-Length": "2"})


urlpatterns = [path("plain", plain), path("timestamped", timestamped)]
