"""Whether what is published is what its type promises.

What tenants hand in is refused where it breaks its type's schema. The hub's own facts are published all the same, since the
change that they tell of is true whatever its form: the tenant gets an alert, see docs/adr/0010-a-fact-is-told-in-any-form.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from integrations.runtime.alerts import raise_alert
from webhooks.outbound.event_types import BY_NAME
from webhooks.outbound.event_types.kinds import DRAFT
from webhooks.outbound.models import EventTypeDefinition
from webhooks.outbound.publishing.schemas import CHECKED, REF_PREFIX, Problem, first_problem

logger = structlog.get_logger(__name__)

BROKEN_ALERT = "event_breaks_schema"
MAX_DATA_BYTES = 256 * 1024
MAX_DATA_LEVELS = 50
MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_LEVELS = 20
MAX_SUBSCHEMAS = 1000

_ANNOTATIONS = frozenset(
    {
        "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format", "contentEncoding",
        "contentMediaType", "$comment",
    }
)  # fmt: skip
_REGEX = frozenset({"pattern", "patternProperties"})
_ONE = frozenset({"items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"})
_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAP = frozenset({"properties", "dependentSchemas", "$defs"})
_DEFINITION = re.compile(r"[A-Za-z0-9._-]{1,100}")
_KNOWN = (CHECKED | _ANNOTATIONS | {"$defs", "$schema"}) - _REGEX


class InvalidSchema(ValueError):
    """The schema can't be taken; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What is known of a type: the version of its schema, and the schema (None: anything goes)."""

    version: int = 1
    schema: Mapping[str, Any] | None = None
    archived: bool = False


def promise_of(tenant_id: int, type: str) -> Promise:
    """Return what the catalogue, or the tenant's own definition, promises of a type. Needs no scope."""
    if known := BY_NAME.get(type):
        return Promise(known.version, known.schema)
    own = EventTypeDefinition.unscoped.filter(tenant_id=tenant_id, name=type).first()
    return Promise(own.version, own.schema, own.archived_at is not None) if own else Promise()


def problem_with(promise: Promise, content: Any) -> Problem | None:
    """Return in what `content` (of `data.object`, as JSON gives it) breaks the promise, None where it keeps it."""
    return None if promise.schema is None else first_problem(promise.schema, content)


_checked: ContextVar[str] = ContextVar("checked_event", default="")


@contextmanager
def checked(key: str) -> Iterator[None]:
    """Within this, the event of that key is known to keep its promise: its content is not looked through a second time."""
    token = _checked.set(key)
    try:
        yield
    finally:
        _checked.reset(token)


def is_checked(key: str) -> bool:
    return _checked.get() == key


def report_if_broken(tenant_id: int, type: str, promise: Promise, payload: str) -> None:
    """Tell the tenant, once the transaction commits, of a fact that was published although it breaks its schema.

    Raises nothing: the booking that the fact tells of must not fail for its form.
    """
    if not payload:
        return  # said before, and erased since
    try:
        problem = problem_with(promise, json.loads(payload)["data"]["object"])
    except Exception:
        logger.exception("event_not_checked", type=type, tenant=tenant_id)
        return
    if problem is None:
        return
    where, what = problem.at("data.object"), problem.message
    logger.error("event_breaks_schema", type=type, tenant=tenant_id, where=where, problem=what)
    # After the commit: the row of the alert is one for all events of the type, and no booking should wait for another's.
    transaction.on_commit(
        lambda: raise_alert(
            tenant_id=tenant_id,
            kind=BROKEN_ALERT,
            subject=type,
            message=f"An event {type} was published that breaks its schema: {where} {what}. Receivers may refuse it.",
        ),
        robust=True,
    )


# --- What can be stored at all --------------------------------------------------------------------------------------------


def flaw_of(value: Any, levels: int) -> str:
    """Return why a value is nothing that can be stored and sent: nested deeper than `levels`, a text that is none, a number
    without bounds; empty where it can."""
    here = [value]
    for _ in range(levels + 1):
        below: list[Any] = []
        for each in here:
            if isinstance(each, str):
                if flaw := _flaw_of_text(each):
                    return flaw
            elif isinstance(each, float):
                if not math.isfinite(each):
                    return "holds a number beyond all bounds"
            elif isinstance(each, Mapping):
                below += each
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return ""
        here = below
    return f"is nested deeper than {levels} levels"


def _flaw_of_text(text: str) -> str:
    if "\x00" in text:
        return "holds a null character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "holds a lone surrogate, which is no text"
    return ""


# --- Tenants' own schemas -------------------------------------------------------------------------------------------------


def check_schema(schema: Any) -> None:
    """Raise `InvalidSchema` unless `schema` is one that a tenant's own type may have.

    JSON Schema, draft 2020-12, of at most 64 kB, 20 levels and 1,000 subschemas; `$ref` to `#/$defs/<name>` only, and `$defs`
    at the top. No regular expressions (`pattern`, `patternProperties`): one of them can hold up a process for hours. Keywords
    that the hub does not check are refused, so that nobody relies on them; but for annotations and names that begin with `x-`.
    """
    if not isinstance(schema, dict):
        raise InvalidSchema("a schema is a JSON object")
    if flaw := flaw_of(schema, MAX_SCHEMA_LEVELS):
        raise InvalidSchema(f"it {flaw}")
    if len(json.dumps(schema, separators=(",", ":"), ensure_ascii=False).encode()) > MAX_SCHEMA_BYTES:
        raise InvalidSchema(f"it is larger than {MAX_SCHEMA_BYTES // 1024} kB")
    _walk(schema)
    try:
        Draft202012Validator.check_schema(schema)  # its metaschema is part of the library: nothing is fetched
    except SchemaError as error:
        where = ".".join(str(each) for each in error.absolute_path)
        raise InvalidSchema(f"{where[:200] or 'it'} is not as JSON Schema has it") from error
    empty: dict[str, Any] = {}
    if (problem := first_problem({"anyOf": [schema, True], "$defs": schema.get("$defs", {})}, empty)) is not None:
        raise InvalidSchema(f"it {problem.message}")


def _walk(root: dict[str, Any]) -> None:
    """Look at every subschema; nothing that stands in a place that is no schema (`enum`, `default`) is one."""
    waiting: list[tuple[str, Any]] = [("", root)]
    defs = root.get("$defs")
    names = set(defs) if isinstance(defs, dict) else set()
    seen = 0
    while waiting:
        path, schema = waiting.pop()
        seen += 1
        if seen > MAX_SUBSCHEMAS:
            raise InvalidSchema(f"it has more than {MAX_SUBSCHEMAS} subschemas")
        if not isinstance(schema, dict):
            continue  # true, false; anything else fails the metaschema
        for name, rule in schema.items():
            here = f"{path}.{name}".strip(".")[:200]
            _check_keyword(here, name, rule, names, is_root=not path)
            if name in _ONE:
                waiting.append((here, rule))
            elif name in _LIST and isinstance(rule, list):
                waiting += [(f"{here}.{index}", each) for index, each in enumerate(rule)]
            elif name in _MAP and isinstance(rule, dict):
                waiting += [(f"{here}.{key}", each) for key, each in rule.items()]


def _check_keyword(here: str, name: str, rule: Any, defs: set[str], *, is_root: bool) -> None:
    if name in _REGEX:
        raise InvalidSchema(f"{here}: regular expressions are not taken, since one can hold up the hub")
    if name not in _KNOWN and not name.startswith("x-"):
        raise InvalidSchema(f"{here}: this keyword is not known here")
    if name == "$schema" and (not is_root or rule != DRAFT):
        raise InvalidSchema(f"{here}: schemas are of {DRAFT}")
    if name == "$defs" and not is_root:
        raise InvalidSchema(f"{here}: definitions stand at the top")
    if name == "$defs" and (odd := next((each for each in defs if not _DEFINITION.fullmatch(each)), None)) is not None:
        raise InvalidSchema(f"{here}.{odd[:100]}: names of definitions are letters, digits, . _ -")
    if name == "$ref":
        if not isinstance(rule, str) or not rule.startswith(REF_PREFIX):
            raise InvalidSchema(f"{here}: references lead to {REF_PREFIX}<name>, nowhere else")
        if rule.removeprefix(REF_PREFIX) not in defs:
            raise InvalidSchema(f"{here}: there is no such definition")
