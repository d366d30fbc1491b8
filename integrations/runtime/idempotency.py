"""Idempotency-Key: the same key and body of the same caller give the stored answer, whatever happened to the first request."""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from integrations.contracts import clock
from integrations.models import IdempotencyRecord
from integrations.secrets import SecretUnreadable, open_sealed, seal
from integrations.tenancy.views import tenant_of

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=60)
NEVER_STORED = frozenset({401, 403, 404, 409, 429, 503})
PASSING_CODES = frozenset({"not_configured", "spend_cap_reached"})
"""Refusals that say something of the hub's settings and nothing of the request: the same one may be right tomorrow."""

_ASKED = 40
"""How much of a fingerprint tells what was asked; the rest tells by whom."""
_OWN = "0" * 64
"""The caller where it is the hub's own process, by the Python facade."""

_current: ContextVar[IdempotencyRecord | None] = ContextVar("idempotency_record", default=None)


class KeyReused(APIException):
    """The key was used with another body or route, or by somebody else of the tenant."""

    status_code = 422
    default_code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key was used with another request."


class StillRunning(APIException):
    """The first request with this key has not been answered yet."""

    status_code = 409
    default_code = "idempotency_key_in_use"
    default_detail = "The first request with this Idempotency-Key is still running."
    wait = 1


def attach(object_type: str, object_id: str) -> None:
    """Tie what is being made to the running request's key, in the same transaction: should we die before answering, the
    repeated request finds it instead of making a second one. Without a key this does nothing."""
    record = _current.get()
    if record is None:
        return
    mine = IdempotencyRecord.unscoped.filter(pk=record.pk, lease=record.lease)
    if not mine.update(object_type=object_type, object_id=object_id):
        raise StillRunning


def idempotent(view_method: Callable[..., Response]) -> Callable[..., Response]:
    """Decorate a view's `post`. The view must have `replay(request, object_type, object_id) -> Response`, the answer for an
    object that an earlier request with this key made without living to answer."""

    @functools.wraps(view_method)
    def wrapper(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            return view_method(view, request, *args, **kwargs)
        if len(key) > 255 or not key.isprintable():
            raise ValidationError({"Idempotency-Key": ["must be at most 255 printable characters"]})
        record, stored = _begin(request, key)
        if stored is not None:
            return stored
        assert record is not None  # noqa: S101 tells the type checker what _begin promises
        if record.object_id:
            response: Response = view.replay(request, record.object_type, record.object_id)
        else:
            token = _current.set(record)
            try:
                response = view_method(view, request, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 DRF's own handler turns each into its answer, a bug into a 500
                response = view.handle_exception(error)
            finally:
                _current.reset(token)
        _end(record, response)
        return response

    return wrapper


def _fingerprint(request: Request) -> str:
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":"), default=str)
    route = request.path.replace("/api/v1/", "/api/", 1)
    asked = hashlib.sha256(f"{request.method} {route}\n{body}".encode()).hexdigest()
    # Who asks belongs to it: the stored answer may hold what is shown to one caller, this once.
    principal = getattr(request, "user", None)
    caller = _OWN if principal is None else hashlib.sha256(str(principal.pk).encode()).hexdigest()
    return asked[:_ASKED] + caller[_ASKED:]


def _is_same(one: str, other: str) -> bool:
    """Tell whether two fingerprints are of the same request. Code within the hub is one with all callers of its tenant: what
    one began over HTTP, it may go on with by the Python facade, and the other way round; no secrets are answered there."""
    callers = {one[_ASKED:], other[_ASKED:]}
    return one[:_ASKED] == other[:_ASKED] and (len(callers) == 1 or _OWN[_ASKED:] in callers)


def _begin(request: Request, key: str) -> tuple[IdempotencyRecord | None, Response | None]:
    """Return (our record, nothing) to go ahead, or (nothing, the stored answer); raise `KeyReused`, `StillRunning`."""
    tenant_id, now = tenant_of(request).pk, clock.now()
    fingerprint, lease = _fingerprint(request), uuid.uuid4()
    fields = {"fingerprint": fingerprint, "route": request.path[:100], "lease": lease, "lease_until": now + LEASE}
    try:
        with transaction.atomic():
            return IdempotencyRecord.unscoped.create(tenant_id=tenant_id, key=key, **fields), None
    except IntegrityError:
        pass
    with transaction.atomic():
        record = IdempotencyRecord.unscoped.select_for_update().filter(tenant_id=tenant_id, key=key).first()
        if record is None:  # its owner met a passing trouble and freed the key just now: try again in a moment
            raise StillRunning
        if record.created < now - KEPT:
            IdempotencyRecord.unscoped.filter(pk=record.pk).update(
                **fields, created=now, object_type="", object_id="", status_code=None, sealed_response=""
            )
            record.refresh_from_db()
            return record, None
        if not _is_same(record.fingerprint, fingerprint):
            raise KeyReused
        if record.status_code is not None:
            return None, _stored(record)
        if record.lease is not None and record.lease_until > now:
            raise StillRunning
        # The first request died: take its place, and with it what it had made already.
        record.lease, record.lease_until = lease, now + LEASE
        record.save(update_fields=["lease", "lease_until"])
        return record, None


def _stored(record: IdempotencyRecord) -> Response:
    """Return the stored answer; raise `KeyReused` where its key has left the keyring: the request is not made again."""
    assert record.status_code is not None  # noqa: S101 tells the type checker what the caller knows
    try:
        data = open_sealed(record.tenant_id, record.sealed_response)
    except SecretUnreadable as error:
        raise KeyReused("This Idempotency-Key was answered before; the stored answer can't be read any more.") from error
    headers = {"Idempotent-Replayed": "true", "Cache-Control": "no-store"}
    return Response(data, status=record.status_code, headers=headers)


def _passes(response: Response) -> bool:
    if response.status_code not in {402, 422} or not isinstance(response.data, dict):
        return False
    codes = [each["code"] for each in response.data.get("errors", [])]
    return bool(codes) and PASSING_CODES.issuperset(codes)


def _end(record: IdempotencyRecord, response: Response) -> None:
    mine = IdempotencyRecord.unscoped.filter(pk=record.pk, lease=record.lease)
    if response.status_code in NEVER_STORED or response.status_code >= 500 or _passes(response):
        # Nothing made: the key is free again. Something made: keep the tie, and let the next try answer from it.
        mine.filter(object_id="").delete()
        mine.update(lease=None)
        return
    # Sealed: an answer may hold a secret that is shown this once, and a person's data.
    data = json.loads(json.dumps(response.data, cls=JSONEncoder))
    mine.update(status_code=response.status_code, sealed_response=seal(record.tenant_id, data), lease=None)
