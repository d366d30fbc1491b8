"""The URLs that the outside calls. No session, no CSRF: a request is judged by its signature or its path alone."""

from __future__ import annotations

import functools
from collections.abc import Callable

import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from integrations.contracts.inbound import Ack, BadSignature, InboundRequest, MalformedWebhook
from integrations.registry import webhook_adapters
from integrations.secrets import SecretUnreadable
from integrations.tenancy.network import address_of
from webhooks.inbound import known, rejections
from webhooks.inbound.access import admit
from webhooks.inbound.generic.bodies import clean
from webhooks.inbound.generic.receiving import METHODS
from webhooks.inbound.locate import GENERIC, Owner, by_content, by_token
from webhooks.inbound.refusals import Reason, Refused, refusal_of
from webhooks.inbound.services import take_in, take_in_generic

logger = structlog.get_logger(__name__)

BODY_LIMIT = 4 * 1024 * 1024
"""Batches of reports may be 3 MB (WhatsApp); Django's own limit for a body is a little higher."""
TOKEN_LENGTHS = range(16, 65)
PURPOSE_LENGTH = 40
AWAY_SECONDS = 5
"""After how long a sender may come again whose request could not be stored."""


def _available(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorate a view: while the database is away or can't store anything, the sender is asked to come again. Most do so for
    any 5xx; this one says when, and counts as no error of ours."""

    @functools.wraps(view)
    def wrapper(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except (OperationalError, InterfaceError) as error:
            logger.warning("inbound_not_stored", error=type(error).__name__, detail=str(error)[:200])
            response = _problem(503, "unavailable")
            response["Retry-After"] = str(AWAY_SECONDS)
            return response

    return wrapper


@csrf_exempt
@_available
def hook(request: HttpRequest, token: str, purpose: str = "") -> HttpResponse:
    """ANY `/hooks/<token>/<purpose>`: the path that only the provider was told. Of a generic source, whatever follows the
    token, or nothing."""
    remembered = known.recall(token)
    if remembered is not None:
        try:
            return _acknowledged(_take_in(request, remembered, purpose, [remembered]))
        except (known.Stale, Refused, MalformedWebhook, BadSignature, SecretUnreadable):
            known.forget(token)  # whatever it is: judged by what the database says now
    owner = by_token(token) if len(token) in TOKEN_LENGTHS else None
    if owner is None:
        return _refuse(request, Refused(Reason.NOT_FOUND), None, rejections.UNKNOWN_PATH)
    known.remember(token, owner)
    return _answered(request, owner, owner.provider, lambda seen: _take_in(request, owner, purpose, seen))


def _take_in(request: HttpRequest, owner: Owner, purpose: str, seen: list[Owner]) -> Ack:
    if owner.provider == GENERIC:
        return _receive_generic(request, owner, purpose)
    adapter = webhook_adapters().get(owner.provider)
    if adapter is None or purpose not in adapter.purposes:
        raise Refused(Reason.NOT_FOUND)
    methods = sorted({"POST"}.union(*(each.methods for each in adapter.fixed_paths)))
    if request.method not in methods:
        raise Refused(Reason.METHOD, allow=methods)
    return _receive(request, purpose, lambda _inbound: owner, seen, True)


def fixed(providers: list[str], purpose: str, methods: tuple[str, ...]) -> Callable[[HttpRequest], HttpResponse]:
    """Return the view of a path that is the same for all tenants, perhaps shared by several providers."""

    def find(inbound: InboundRequest) -> Owner:
        for provider in providers:
            owner = by_content(provider, webhook_adapters()[provider], inbound)
            if owner.tenant_id is not None:
                return owner
        return Owner(providers[0])

    @csrf_exempt
    @_available
    def view(request: HttpRequest) -> HttpResponse:
        if request.method not in methods:
            return _refuse(request, Refused(Reason.METHOD, allow=methods), None, providers[0])
        return _answered(request, None, providers[0], lambda seen: _receive(request, purpose, find, seen, False))

    return view


class _TooMany(Exception):
    """A stranger asks too often."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


def _answered(request: HttpRequest, owner: Owner | None, source: str, receive: Callable[[list[Owner]], Ack]) -> HttpResponse:
    """Return what `receive` acknowledges, or its refusal, counted. `receive` notes in its list whom it found."""
    seen = [owner] if owner is not None else []
    try:
        ack = receive(seen)
    except _TooMany as error:
        return _slow_down(error.wait)
    except Refused as refused:
        return _refuse(request, refused, seen[-1] if seen else None, source)
    except (MalformedWebhook, BadSignature) as error:
        refusal = refusal_of(error)
        refusal.__cause__ = error
        return _refuse(request, refusal, seen[-1] if seen else None, source)
    except SecretUnreadable:
        # Our own trouble, and the sender's request may be a good one: it shall come again.
        logger.exception("inbound_secret_unreadable", source=source)
        return _problem(503, "unavailable")
    return _acknowledged(ack)


def _acknowledged(ack: Ack) -> HttpResponse:
    response = HttpResponse(ack.body, status=ack.status, content_type=ack.content_type)
    if ack.content_type.startswith("text/plain"):
        response["X-Content-Type-Options"] = "nosniff"
    return response


def _receive_generic(request: HttpRequest, owner: Owner, purpose: str) -> Ack:
    assert owner.endpoint is not None  # noqa: S101 tells the type checker what the caller has seen
    admit(owner.endpoint, address_of(request))
    return take_in_generic(owner, owner.endpoint, _read(request, clean(purpose)[:PURPOSE_LENGTH]))


def _receive(
    request: HttpRequest, purpose: str, find: Callable[[InboundRequest], Owner], seen: list[Owner], own_path: bool
) -> Ack:
    if own_path:
        admit(seen[-1].endpoint, address_of(request))
    inbound = _read(request, purpose)
    owner = find(inbound)
    seen.append(owner)
    admit(owner.endpoint, inbound.remote_ip)
    adapter = webhook_adapters()[owner.provider]
    answer = adapter.challenge(inbound, owner.view())
    if answer is not None:
        if owner.remembered:
            raise known.Stale
        return answer
    if owner.tenant_id is None and (wait := _wait_of(request)) is not None:
        raise _TooMany(wait)
    return take_in(owner, adapter, inbound, by_token=own_path)


def _read(request: HttpRequest, purpose: str) -> InboundRequest:
    """Return the request with its raw body; raise `Refused` for one that is too large or can't be read. A body can be read but
    once: who asks again is told the same."""
    found: InboundRequest | Refused | None = request.__dict__.get("_inbound")
    if found is None:
        try:
            found = _read_anew(request, purpose)
        except Refused as refused:
            found = refused
        request.__dict__["_inbound"] = found
    if isinstance(found, Refused):
        raise found
    return found


def _read_anew(request: HttpRequest, purpose: str) -> InboundRequest:
    declared = request.headers.get("Content-Length") or "0"
    if not (declared.isascii() and declared.isdecimal()):
        raise Refused(Reason.UNREADABLE)
    if len(declared) > 12 or int(declared) > BODY_LIMIT:
        raise Refused(Reason.TOO_LARGE)
    try:
        body = _body_of(request)
    except (UnreadablePostError, RequestDataTooBig, OSError):
        raise Refused(Reason.UNREADABLE) from None
    if len(body) > BODY_LIMIT:
        raise Refused(Reason.TOO_LARGE)
    if len(body) < int(declared):
        raise Refused(Reason.UNREADABLE)  # whoever sent it hung up; what came may still look whole
    try:
        parameters = list(request.GET.items())
    except TooManyFieldsSent:
        raise Refused(Reason.UNREADABLE, "Too many parameters.") from None
    return InboundRequest(
        method=request.method or "",
        purpose=purpose,
        query={key: str(value) for key, value in parameters if "\x00" not in f"{key}{value}"},
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        remote_ip=address_of(request),
        url=f"{settings.PUBLIC_BASE_URL}{request.get_full_path()}",
    )


def _body_of(request: HttpRequest) -> bytes:
    """Return the body, one byte more than `BODY_LIMIT` of it at most. Django takes what comes in chunks for empty: it is read
    past it, where the server says that it ends the body itself."""
    coding = request.headers.get("Transfer-Encoding", "").strip().lower()
    if not coding:
        return request.read(BODY_LIMIT + 1)
    if coding != "chunked" or not request.META.get("wsgi.input_terminated"):
        raise Refused(Reason.NO_LENGTH, "Send the body with a Content-Length.")
    try:
        body: bytes = request.META["wsgi.input"].read(BODY_LIMIT + 1)
    except Exception as error:  # each server has its own for chunks that are none
        raise Refused(Reason.UNREADABLE) from error
    return body


def _refuse(request: HttpRequest, refused: Refused, owner: Owner | None, source: str) -> HttpResponse:
    """Count the refusal and answer it: why, or 429 to an address that was refused too often."""
    ip = address_of(request)
    counted = refused
    if not refused.detail and refused.__cause__ is not None:
        counted = Refused(refused.reason, str(refused.__cause__))  # more than the caller is told
    rejections.count(counted, owner=owner, source=source, ip=ip)
    wait = _wait_of(request)
    if wait is not None:
        return _slow_down(wait)
    response = _problem(refused.status, refused.code, refused.detail)
    if refused.reason is Reason.METHOD:
        response["Allow"] = ", ".join(refused.allow or METHODS)
    return response


def _wait_of(request: HttpRequest) -> int | None:
    """Return for how long the caller should keep still, None: he need not. However often it is asked, a request counts once."""
    known: list[int | None] = request.__dict__.setdefault("_stranger_wait", [])
    if not known:
        known.append(rejections.seconds_to_wait(address_of(request)))
    return known[0]


def _slow_down(wait: int) -> HttpResponse:
    response = _problem(429, "throttled")
    response["Retry-After"] = str(wait)
    return response


def _problem(status: int, code: str, detail: str = "") -> JsonResponse:
    kind = "server_error" if status >= 500 else "client_error"
    return JsonResponse({"type": kind, "errors": [{"code": code, "detail": detail, "attr": None}]}, status=status)
