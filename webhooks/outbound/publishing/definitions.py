"""Types of events that tenants define for their own. Called inside the tenant's scope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.models import Tenant
from integrations.tenancy import audit
from webhooks.outbound.event_types import BY_NAME, is_reserved, is_type_name
from webhooks.outbound.event_types.kinds import example_of_body, schema_of_body
from webhooks.outbound.models import EventTypeDefinition
from webhooks.outbound.publishing.formats import dump
from webhooks.outbound.publishing.schemas import first_problem
from webhooks.outbound.publishing.validation import MAX_DATA_BYTES, MAX_DATA_LEVELS, InvalidSchema, check_schema, flaw_of

MAX_TYPES = 200
MAX_VERSION = 32_767
FIELDS = ("description", "schema", "example", "deprecated", "deprecation_note")


def define_type(*, tenant: Tenant, name: str, **fields: Any) -> EventTypeDefinition:
    """Define a type (`fields` of `FIELDS`), or bring an archived one back. Raises `InvalidRequest` naming the field, and
    `Conflict` where there is one of that name."""
    check_name(name)
    _check_fields(fields)
    with transaction.atomic():
        tenant_lock = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)  # two of one name wait for each other
        stored = EventTypeDefinition.objects.filter(name=name).first()
        if stored is not None:
            if stored.archived_at is None:
                raise Conflict(f"There is a type {name} already.", attr="name")
            return _store(stored, fields, "event_type.restored")
        if EventTypeDefinition.objects.count() >= MAX_TYPES:
            raise InvalidRequest(f"A tenant has at most {MAX_TYPES} types of its own.", attr="name")
        made = EventTypeDefinition(tenant=tenant_lock, name=name, **fields)
        made.save(force_insert=True)
        audit.record(
            tenant_id=tenant.pk, action="event_type.created", object_type="event_type", object_id=name, object_name=name
        )
    return made


def redefine_type(*, name: str, **fields: Any) -> EventTypeDefinition:
    """Set all of a type's `FIELDS`; a changed schema raises its version. Raises `EventTypeDefinition.DoesNotExist`,
    `InvalidRequest` naming the field, and `Conflict` for an archived one."""
    _check_fields(fields)
    with transaction.atomic():
        stored: EventTypeDefinition = EventTypeDefinition.objects.select_for_update().get(name=name)
        if stored.archived_at is not None:
            raise Conflict("This type is archived: define it again to bring it back.")
        return _store(stored, fields, "event_type.updated")


def archive_type(*, name: str) -> None:
    """Let a type be published no more; events of it stay. Raises `EventTypeDefinition.DoesNotExist`, also for an archived
    one."""
    with transaction.atomic():
        stored: EventTypeDefinition = EventTypeDefinition.objects.select_for_update().get(name=name, archived_at__isnull=True)
        stored.archived_at = stored.updated = clock.now()
        stored.save(update_fields=["archived_at", "updated"])
        audit.record(
            tenant_id=stored.tenant_id,
            action="event_type.archived",
            object_type="event_type",
            object_id=name,
            object_name=name,
        )


def _store(stored: EventTypeDefinition, fields: Mapping[str, Any], action: str) -> EventTypeDefinition:
    before = {name: getattr(stored, name) for name in FIELDS}
    after = {name: fields.get(name, EventTypeDefinition._meta.get_field(name).get_default()) for name in FIELDS}
    if after["schema"] != before["schema"]:
        if stored.version >= MAX_VERSION:
            raise InvalidRequest("The schema was changed too often: define a new type.", attr="schema")
        stored.version += 1
    for name, value in after.items():
        setattr(stored, name, value)
    stored.archived_at, stored.updated = None, clock.now()
    stored.save()
    audit.record(
        tenant_id=stored.tenant_id,
        action=action,
        object_type="event_type",
        object_id=stored.name,
        object_name=stored.name,
        # Schemas and examples may be long: that they changed is what is worth knowing.
        changes=audit.differences(before, after, secret=frozenset({"schema", "example"})),
    )
    return stored


def check_name(name: str) -> None:
    """Raise `InvalidRequest` unless a tenant may define a type of this name."""
    if not is_type_name(name):
        raise InvalidRequest("Write a dotted name in lower case, such as booking.created.", attr="name")
    if name in BY_NAME:
        raise InvalidRequest("The hub's catalogue has a type of this name.", attr="name")
    if is_reserved(name):
        raise InvalidRequest(f"Names that begin with {name.split('.')[0]}. are the hub's own.", attr="name")


def _check_fields(fields: Mapping[str, Any]) -> None:
    schema, example = fields.get("schema"), fields.get("example")
    if schema is not None:
        try:
            check_schema(schema)
        except InvalidSchema as error:
            raise InvalidRequest(f"This schema is not taken: {error}.", attr="schema") from error
    if example is None:
        return
    if not isinstance(example, dict):
        raise InvalidRequest("The example must be a JSON object, as data is.", attr="example")
    if flaw := flaw_of(example, MAX_DATA_LEVELS):
        raise InvalidRequest(f"The example {flaw}.", attr="example")
    if len(dump(example)) > MAX_DATA_BYTES:
        raise InvalidRequest(f"The example is larger than {MAX_DATA_BYTES // 1024} kB.", attr="example")
    if schema is not None and (problem := first_problem(schema, example)):
        raise InvalidRequest(f"The example breaks the schema: it {problem.message}.", attr=problem.at("example"))


# --- How types are shown --------------------------------------------------------------------------------------------------


def document(definition: EventTypeDefinition) -> dict[str, Any]:
    """Return the public form, as `EventType.document` does: schema and example are of the whole body that is sent."""
    return {
        "type": definition.name,
        "source": "own",
        "description": definition.description,
        "version": definition.version,
        "publishable": definition.archived_at is None,
        "deprecated": definition.deprecated,
        "deprecation_note": definition.deprecation_note,
        "archived": definition.archived_at is not None,
        "schema": schema_of_body(definition.name, definition.schema),
        "example": None if definition.example is None else example_of_body(definition.name, definition.example),
    }


def detail_of(name: str) -> dict[str, Any] | None:
    """Return a type of the catalogue or of the tenant's own with the schema and example of `data.object` alone too; None where
    there is none."""
    if known := BY_NAME.get(name):
        return {**known.document(), "data_schema": known.schema, "data_example": known.example}
    own = EventTypeDefinition.objects.filter(name=name).first()
    return {**document(own), "data_schema": own.schema, "data_example": own.example} if own else None


def catalogue(*, archived: bool = False) -> list[dict[str, Any]]:
    """Return the hub's types, then the tenant's own by name, the archived ones on request."""
    own = EventTypeDefinition.objects.order_by("name")
    if not archived:
        own = own.filter(archived_at__isnull=True)
    return [*(each.document() for each in BY_NAME.values()), *(document(each) for each in own)]
