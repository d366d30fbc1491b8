"""What the views of configs, of categories and of the set-up share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import Http404
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from integrations.configs import schemas, selectors
from integrations.configs.serializers import ConfigSerializer
from integrations.contracts.capabilities import Capability
from integrations.contracts.provider import Provider
from integrations.contracts.schema import SchemaErrors
from integrations.models import Config
from integrations.registry import UnknownProvider, get_provider
from integrations.tenancy import addresses
from integrations.tenancy.views import TenantGenericAPIView


class ConfigBase(TenantGenericAPIView):
    """Views over the tenant's configs. `id_name` is the path's parameter that carries a config's id.

    With `category` they know the configs of its providers only, and show what matters for it.
    """

    key_scope = "integrations"
    serializer_class = ConfigSerializer
    default_ordering = ("pk",)
    orderings: ClassVar[dict[str, tuple[str, ...]]] = {"id": ("pk",), "-id": ("-pk",), "updated": ("updated", "pk")}
    id_name = "config_id"
    category: Capability | None = None

    def get_queryset(self) -> QuerySet[Config]:
        if getattr(self, "swagger_fake_view", False):
            return Config.unscoped.none()
        rows: QuerySet[Config] = Config.objects.all()
        return rows if self.category is None else rows.filter(provider_id__in=schemas.slugs_of(self.category.value))

    def config(self, config_id: int | None = None) -> Config:
        """Return the config of the active scope's tenant (the one that the path names); raise `Http404`."""
        found = self.get_queryset().filter(pk=self.kwargs[self.id_name] if config_id is None else config_id).first()
        if found is None:
            raise Http404
        return found

    def shown(self, configs: Sequence[Config]) -> Any:
        """Return the configs in the declared shape, ready for JSON."""
        whole = addresses.may_see(self.request.user, self.key_scope)
        if self.category is None:
            rows = selectors.configs_data(configs, whole=whole)
        else:
            rows = selectors.category_data(configs, self.category.value, whole=whole)
        return self.serializer_class(rows, many=True).data

    def answer(self, config_id: int, status: int = 200) -> Response:
        return Response(self.shown([self.config(config_id)])[0], status=status)


def named(error: SchemaErrors, prefix: str = "values") -> ValidationError:
    """Return the error with the path of each field as the caller wrote it."""
    return ValidationError({prefix: {name: [text] for name, text in error.errors.items()}})


def find_provider(slug: str) -> Provider:
    try:
        return get_provider(slug)
    except UnknownProvider:
        raise Http404 from None


def whole_list(rows: list[dict[str, Any]]) -> Response:
    """The shape of every list; these are short enough to come whole."""
    return Response({"next": None, "previous": None, "results": rows})
