"""Who changed what. Services call `record`; who it was is known from the request that is being answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from integrations.models import AuditEntry

MASKED = "••••"


@dataclass(frozen=True, slots=True)
class Actor:
    """A user name, `key <name>` or `portal link <id>`, and where the request came from."""

    name: str
    ip: str = ""


HUB = Actor("the hub")
_current: ContextVar[Actor] = ContextVar("audit_actor", default=HUB)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Let what is recorded inside be this actor's doing."""
    token = _current.set(actor)
    try:
        yield
    finally:
        _current.reset(token)


def current_actor() -> Actor:
    """Return who is acting; the hub itself outside of any request."""
    return _current.get()


def record(
    *,
    tenant_id: int,
    action: str,
    object_type: str,
    object_id: str,
    object_name: str = "",
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Write down one change, in the transaction that makes it. `action` is `<object>.<what happened>`
    (`endpoint.updated`); `changes` is {field: [before, after]}, with `MASKED` for what is secret."""
    actor = _current.get()
    AuditEntry.unscoped.create(
        tenant_id=tenant_id,
        actor=actor.name[:200],
        action=action,
        object_type=object_type,
        object_id=object_id,
        object_name=object_name[:150],
        changes=dict(changes or {}),
        ip=actor.ip or None,
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, secret: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return {field: [before, after]} of what changed; for the fields in `secret` only that they did."""
    return {
        name: [MASKED, MASKED] if name in secret else [before.get(name), value]
        for name, value in after.items()
        if before.get(name) != value
    }
