"""Recipients by the thousand: the rows of an uploaded file or of a long call, kept in parts of some hundred."""

from __future__ import annotations

from django.db import models

from integrations.contracts import clock
from integrations.models.base import PrefixedIdField, TenantOwned


class RecipientList(TenantOwned):
    """Rows as they came: `columns` are the file's headings, `rows` how many there are in the parts. Nothing is sent to a list
    before somebody has said which column holds what; `purge_after` then lets its personal data go."""

    id = PrefixedIdField(prefix="lst")
    filename = models.CharField(max_length=200, blank=True)
    columns = models.JSONField(default=list)
    rows = models.PositiveIntegerField(default=0)
    country = models.CharField(max_length=2, blank=True, help_text="Numbers without a country code are read as this one's.")
    created_by = models.CharField(max_length=150, blank=True)
    created = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["-created", "-id"]

    def __str__(self) -> str:
        return f"{self.filename or self.pk}: {self.rows} rows"


class RecipientListPart(TenantOwned):
    """Some rows of a list: `first_row` is the number of its first one as a person counts them in the file (2 is the first below
    the headings), `rows` a list of lists of texts, one for each column."""

    recipient_list = models.ForeignKey(RecipientList, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    first_row = models.PositiveIntegerField()
    rows = models.JSONField()

    class Meta(TenantOwned.Meta):
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["recipient_list", "number"], name="recipient_list_part_once")]

    def __str__(self) -> str:
        return f"{self.recipient_list_id} part {self.number}"
