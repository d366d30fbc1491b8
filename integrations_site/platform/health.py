"""Is it alive, is it ready, how is it. Public, and telling nothing of any tenant."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import Error as DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations_site.platform import state, webhooks

MIGRATED = "platform:migrated"


@require_safe
def live(_request: HttpRequest) -> JsonResponse:
    """200 as long as this process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """200 when requests can be served: the database answers and has every migration. Else 503 saying what is missing."""
    try:
        state.database_answers()
        if not cache.get(MIGRATED):
            if state.migrations_missing():
                return JsonResponse({"status": "unavailable", "detail": "migrations are missing"}, status=503)
            cache.set(MIGRATED, True, timeout=None)
    except DatabaseError:
        return JsonResponse({"status": "unavailable", "detail": "the database does not answer"}, status=503)
    return JsonResponse({"status": "ok"})


class QueueHealthSerializer(serializers.Serializer[None]):
    pending = serializers.IntegerField()
    processing = serializers.IntegerField()
    failed = serializers.IntegerField()
    unknown = serializers.IntegerField()
    needs_review = serializers.IntegerField()
    overdue_seconds = serializers.FloatField(help_text="How long the oldest due item has waited.")


class WebhooksHealthSerializer(serializers.Serializer[None]):
    due = serializers.IntegerField(help_text="Deliveries that may go at once.")
    throttled = serializers.IntegerField(help_text="Due, but the endpoint is paused, its breaker open or its rate used up.")
    waiting = serializers.IntegerField(help_text="For their next try.")
    in_flight = serializers.IntegerField()
    gathering = serializers.IntegerField(help_text="For a batch to fill.")
    held = serializers.IntegerField(help_text="Their endpoint is off.")
    dead = serializers.IntegerField(help_text="Failed for good within the last day.")
    overdue_seconds = serializers.FloatField(help_text="How long the oldest due delivery has waited.")
    throttled_seconds = serializers.FloatField(help_text="The same of the throttled ones.")


class HealthSerializer(serializers.Serializer[None]):
    status = serializers.ChoiceField(
        choices=["ok", "degraded", "down"], help_text="`degraded`: no worker process is alive, queued work waits."
    )
    version = serializers.CharField()
    database = serializers.ChoiceField(choices=["ok", "down"])
    queue = QueueHealthSerializer(allow_null=True)
    webhooks = WebhooksHealthSerializer(allow_null=True)
    workers = serializers.IntegerField(allow_null=True, help_text="Worker processes alive, on all machines.")
    integrations_registered = serializers.IntegerField(allow_null=True, help_text="Provider accounts set up.")
    providers = serializers.IntegerField(help_text="Providers installed.")


class HealthView(APIView):
    """The state of the installation."""

    authentication_classes: list[type] = []
    permission_classes: list[type] = []
    throttle_classes: list[type] = []

    @extend_schema(
        auth=[],
        responses={
            200: HealthSerializer,
            503: OpenApiResponse(HealthSerializer, description="The database does not answer; what it knows is null."),
        },
    )
    def get(self, _request: Request) -> Response:
        answer: dict[str, Any] = {
            "status": "down",
            "version": settings.VERSION,
            "database": "down",
            "queue": None,
            "webhooks": None,
            "workers": None,
            "integrations_registered": None,
            "providers": state.provider_count(),
        }
        try:
            depth = state.queue_depth()
            owed = webhooks.deliveries()
            workers = state.worker_count()
            configs = state.config_count()
        except DatabaseError:
            return Response(answer, status=503)
        answer |= {
            "status": "ok" if workers else "degraded",
            "database": "ok",
            "queue": {**depth.counts, "overdue_seconds": depth.overdue_seconds},
            "webhooks": {
                **owed.counts,
                "overdue_seconds": owed.overdue_seconds,
                "throttled_seconds": owed.throttled_seconds,
            },
            "workers": workers,
            "integrations_registered": configs,
        }
        return Response(answer)
