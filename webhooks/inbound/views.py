"""The URLs that the outside calls. No session, no CSRF: a request is judged by its signature or its path alone."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from integrations.contracts.inbound import BadSignature, InboundRequest, MalformedWebhook
from integrations.registry import webhook_adapters
from webhooks.inbound.locate import Owner, by_content, by_token
from webhooks.inbound.services import take_in

BODY_LIMIT = 4 * 1024 * 1024
"""Batches of reports may be 3 MB (WhatsApp); Django's own limit for a body is a little higher."""
TOKEN_LENGTHS = range(16, 65)


def remote_ip(request: HttpRequest) -> str:
    """Return the caller's address, believing as many X-Forwarded-For hops as we run proxies."""
    hops = int(settings.TRUSTED_PROXY_HOPS)
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    if hops and len(forwarded) >= hops:
        return forwarded[-hops]
    return str(request.META.get("REMOTE_ADDR", ""))


@csrf_exempt
def hook(request: HttpRequest, token: str, purpose: str) -> HttpResponse:
    """ANY `/hooks/<token>/<purpose>`: the path that only the provider was told."""
    if len(token) not in TOKEN_LENGTHS:
        return _problem(404, "not_found")
    owner = by_token(token)
    adapter = webhook_adapters().get(owner.provider) if owner else None
    if owner is None or adapter is None or purpose not in adapter.purposes:
        return _problem(404, "not_found")
    return _receive(request, purpose, lambda _inbound: owner, own_path=True, providers=[owner.provider])


def fixed(providers: list[str], purpose: str, methods: tuple[str, ...]) -> Callable[[HttpRequest], HttpResponse]:
    """Return the view of a path that is the same for all tenants, perhaps shared by several providers."""

    @csrf_exempt
    def view(request: HttpRequest) -> HttpResponse:
        if request.method not in methods:
            response = _problem(405, "method_not_allowed")
            response["Allow"] = ", ".join(methods)
            return response

        def find(inbound: InboundRequest) -> Owner:
            for provider in providers:
                owner = by_content(provider, webhook_adapters()[provider], inbound)
                if owner.tenant_id is not None:
                    return owner
            return Owner(providers[0])

        return _receive(request, purpose, find, own_path=False, providers=providers)

    return view


def _receive(
    request: HttpRequest,
    purpose: str,
    find: Callable[[InboundRequest], Owner],
    *,
    own_path: bool,
    providers: list[str],
) -> HttpResponse:
    if int(request.headers.get("Content-Length") or 0) > BODY_LIMIT:
        return _problem(413, "too_large")
    try:
        body = request.read(BODY_LIMIT + 1)
    except (UnreadablePostError, RequestDataTooBig):
        return _problem(400, "unreadable")
    if len(body) > BODY_LIMIT:
        return _problem(413, "too_large")
    inbound = InboundRequest(
        method=request.method or "",
        purpose=purpose,
        query={key: value for key, value in request.GET.items() if "\x00" not in key + value},
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        remote_ip=remote_ip(request),
        url=f"{settings.PUBLIC_BASE_URL}{request.get_full_path()}",
    )
    try:
        owner = find(inbound)
        adapter = webhook_adapters()[owner.provider]
        ack = adapter.challenge(inbound, owner.view()) or take_in(owner, adapter, inbound, by_token=own_path)
    except MalformedWebhook as error:
        return _problem(400, "malformed", str(error))
    except BadSignature:
        return _problem(401, "bad_signature")
    return HttpResponse(ack.body, status=ack.status, content_type=ack.content_type)


def _problem(status: int, code: str, detail: str = "") -> JsonResponse:
    return JsonResponse({"type": "client_error", "errors": [{"code": code, "detail": detail, "attr": None}]}, status=status)
