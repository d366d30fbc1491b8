"""The configs of one category under a path of their own: the same rows, services and rights as `/integrations/configs`."""

from __future__ import annotations

from django.urls import URLPattern, path
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.configs import services
from integrations.configs.config_api import ConfigDetailView, ConfigListView, ConfigTestView
from integrations.configs.serializers import AccountFilter, CategoryConfigSerializer
from integrations.configs.views import ConfigBase
from integrations.contracts.capabilities import Capability
from integrations.runtime.idempotency import idempotent

DELETED = {
    200: OpenApiResponse(CategoryConfigSerializer, description="Kept, and switched off: something refers to it."),
    204: OpenApiResponse(description="Removed."),
}


@extend_schema_view(
    get=extend_schema(responses=CategoryConfigSerializer(many=True)),
    post=extend_schema(responses={201: CategoryConfigSerializer}),
)
class CategoryListView(ConfigListView):
    """The tenant's accounts at providers of this category, each with what it can do."""

    serializer_class = CategoryConfigSerializer
    filterset_class = AccountFilter


@extend_schema_view(
    get=extend_schema(responses=CategoryConfigSerializer),
    put=extend_schema(responses=CategoryConfigSerializer),
    patch=extend_schema(responses=CategoryConfigSerializer),
    delete=extend_schema(responses=DELETED),
)
class CategoryDetailView(ConfigDetailView):
    """One account at a provider of this category."""

    serializer_class = CategoryConfigSerializer


class CategoryTestView(ConfigTestView):
    """Calls the provider with the account's credentials."""


class CategoryPrimaryView(ConfigBase):
    """Makes the account the one that new calls of this category go to. What is under way stays with its own account."""

    serializer_class = CategoryConfigSerializer

    @extend_schema(request=None, responses=CategoryConfigSerializer)
    @idempotent
    def post(self, request: Request, **_ids: int) -> Response:
        assert self.category is not None  # noqa: S101 its route says it
        config = self.config()
        services.set_primary(config=config, category=self.category.value)
        return self.answer(config.pk)


def category_routes(base: str, category: Capability, *, id_name: str) -> list[URLPattern]:
    """Return the routes below `base` for the configs of a category; `id_name` names the id in the paths."""
    one = f"{base}/<int:{id_name}>"
    given = {"category": category, "id_name": id_name}
    return [
        path(base, CategoryListView.as_view(**given)),
        path(one, CategoryDetailView.as_view(**given)),
        path(f"{one}/test", CategoryTestView.as_view(**given)),
        path(f"{one}/primary", CategoryPrimaryView.as_view(**given)),
    ]
