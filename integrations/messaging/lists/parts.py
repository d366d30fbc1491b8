"""Rows by the thousand, kept in parts of some hundred: those of a file, and the recipients of a long call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from django.db import transaction

from integrations.contracts.errors import InvalidRequest
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.lists.rows import COLUMNS_KEY
from integrations.messaging.models import Message, RecipientList, RecipientListPart
from integrations.messaging.sending import accept
from integrations.models import Tenant

PART_ROWS = 500


def send_many(*, tenant: Tenant, destinations: Sequence[Destination], draft: Draft) -> Message:
    """Accept a message to more (good, distinct) destinations than are worth making recipients of at once: they are kept as
    they are and become recipients in the background."""
    rows = ((row, [each.address, each.name, each.data, each.alternatives]) for row, each in enumerate(destinations, start=1))
    with transaction.atomic():
        kept = keep_rows(tenant, "", ["to", "name", "data", "alternatives"], rows, draft.created_by)
        content = {**draft.content, COLUMNS_KEY: None}
        message = accept(tenant=tenant, draft=replace(draft, content=content), recipient_list=kept, expected=len(destinations))
        if message.recipient_list_id != kept.pk:  # somebody else was faster with the same key
            kept.delete()
    return message


def keep_rows(
    tenant: Tenant, filename: str, headings: list[str], rows: Iterable[tuple[int, list[Any]]], created_by: str
) -> RecipientList:
    """Keep numbered rows as a list; raise `InvalidRequest` (attr `file`) where there are none."""
    with transaction.atomic():
        made: RecipientList = RecipientList.unscoped.create(
            tenant=tenant, filename=filename, columns=headings, country=tenant.country, created_by=created_by[:150]
        )
        count = 0
        for number, (first_row, part, filled) in enumerate(_parts(rows)):
            RecipientListPart.unscoped.create(tenant=tenant, recipient_list=made, number=number, first_row=first_row, rows=part)
            count += filled
        if not count:
            raise InvalidRequest("There are no rows below the headings.", attr="file")
        made.rows = count
        made.save(update_fields=["rows"])
    return made


def _parts(rows: Iterable[tuple[int, list[Any]]]) -> Iterator[tuple[int, list[list[Any]], int]]:
    """Gather rows into parts (first row's number, rows, how many are filled). Short gaps become empty rows, long ones end a
    part, so that every row keeps its number."""
    first, filled = 0, 0
    part: list[list[Any]] = []
    for number, row in rows:
        if part and (filled == PART_ROWS or number - first >= 2 * PART_ROWS):
            yield first, part, filled
            part, filled = [], 0
        if not part:
            first = number
        part.extend([] for _ in range(number - first - len(part)))
        part.append(row)
        filled += 1
    if part:
        yield first, part, filled
