"""What can't be a length is refused before anything reckons with it."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

LONGEST = 100
"""Digits. What is merely too much is for the views to refuse, each in its own way."""


class RefuseOddLength:
    """Answers 400 (`bad_request`) to a Content-Length that is no number, or one that nobody means."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        length = request.headers.get("Content-Length") or "0"
        if length.isascii() and length.isdecimal() and len(length) <= LONGEST:
            return self._get_response(request)
        error = {"code": "bad_request", "detail": "Content-Length is no length.", "attr": None}
        return JsonResponse({"type": "client_error", "errors": [error]}, status=400)
