"""A Python caller's key, kept in the same records as the API's Idempotency-Key: one key is one act, whichever way it came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.models import Tenant
from integrations.runtime import idempotency
from integrations.runtime.idempotency import idempotent

LONGEST_KEY = 255
_FREES_THE_KEY = 503  # a status that is never stored: a refusal made nothing, so the key may be used again


class KeyReused(InvalidRequest):
    """The key was used with another request within the last 24 hours."""

    code = "idempotency_key_reused"
    status_code = 422


class KeyInUse(Conflict):
    """The first call with this key is still running, or died less than a minute ago: ask again in a moment."""

    code = "idempotency_key_in_use"
    retryable = True


@dataclass(frozen=True, slots=True)
class _Call:
    """A call as the idempotency records know it: by the API's route and body that would do the same."""

    tenant: Tenant
    path: str
    data: Mapping[str, Any]
    headers: Mapping[str, str]
    method: str = "POST"


@dataclass(slots=True)
class _Act:
    """What is done under a key: `perform` makes something and returns its public form, `find` returns that of what was made by
    an earlier call that died before it could answer."""

    perform: Callable[[], dict[str, Any]]
    find: Callable[[str], dict[str, Any]]
    status: int
    error: Exception | None = field(default=None)

    @idempotent
    def post(self, _call: Request) -> Response:
        return Response(self.perform(), status=self.status)

    def replay(self, _call: Request, _object_type: str, object_id: str) -> Response:
        return Response(self.find(object_id), status=self.status)

    def handle_exception(self, error: Exception) -> Response:
        self.error = error
        return Response(status=_FREES_THE_KEY)


def once(
    *,
    tenant: Tenant,
    key: str,
    path: str,
    body: Mapping[str, Any],
    perform: Callable[[], dict[str, Any]],
    find: Callable[[str], dict[str, Any]],
    status: int = 201,
) -> dict[str, Any]:
    """Return what `perform` answers, once per tenant and key: a repeated call gets the first one's answer for 24 hours.

    `path`, `body` and `status` are those of the API request that does the same, so that both ways share their keys. Raises
    `KeyReused`, `KeyInUse`, `InvalidRequest` for a bad key, and what `perform` raises; that frees the key, unless something was
    made: then a repeated call finds it.
    """
    if not key or len(key) > LONGEST_KEY or not key.isprintable():
        raise InvalidRequest(f"The key must be 1 to {LONGEST_KEY} printable characters.", attr="key")
    act = _Act(perform, find, status)
    call = _Call(tenant, path, body, {"Idempotency-Key": key})
    try:
        answer = act.post(cast(Request, call))
        if act.error is not None:
            raise act.error
    except idempotency.KeyReused as error:
        raise KeyReused(str(error.detail), attr="key") from error
    except idempotency.StillRunning as error:
        raise KeyInUse(str(error.detail), attr="key", retry_after=error.wait) from error
    if answer.status_code >= 400:
        raise _refusal(answer.data)
    return dict(answer.data)


def _refusal(body: Mapping[str, Any]) -> InvalidRequest:
    """Return the refusal that the API stored under this key."""
    first = body["errors"][0]
    return InvalidRequest(str(first["detail"]), attr=first["attr"])
