"""The base of every request body: what it does not know it refuses, naming it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers


class StrictSerializer(serializers.Serializer[Any]):
    """A body whose unknown or read-only members are an error (400 naming each), beside whatever else is wrong with it.

    Nested strict serializers check their own part.
    """

    def to_internal_value(self, data: Any) -> Any:
        surplus = self._surplus(data)
        try:
            cleaned = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if not surplus or not isinstance(error.detail, dict):
                raise
            raise serializers.ValidationError({**error.detail, **surplus}) from None
        if surplus:
            raise serializers.ValidationError(surplus)
        return cleaned

    def _surplus(self, data: Any) -> dict[str, list[serializers.ErrorDetail]]:
        if not isinstance(data, Mapping):
            return {}
        found = {}
        for name in data:
            field = self.fields.get(name)
            if field is None:
                # A name may hold what no answer could carry.
                shown = str(name)[:100].encode("utf-8", "replace").decode()
                found[shown] = [serializers.ErrorDetail("This member is not known here.", code="unknown")]
            elif field.read_only:
                found[str(name)] = [serializers.ErrorDetail("This member can't be set.", code="read_only")]
        return found
