"""An endpoint's signing keys: rotating them, and the public ones, which anybody may read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.http import Http404
from django.urls import URLPattern, re_path
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.contracts import clock
from integrations.runtime.idempotency import attach, idempotent
from integrations.secrets import SecretUnreadable
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import TenantAPIView
from webhooks.outbound import signing
from webhooks.outbound.endpoints import services
from webhooks.outbound.endpoints.access import ENDPOINT, SCOPE, endpoint_or_404, opened_keys
from webhooks.outbound.endpoints.serializers import PublicKeysOutput, SecretRotationInput, SecretRotationOutput
from webhooks.outbound.models import Endpoint, SigningKey


def _rotated(endpoint: Endpoint, key: SigningKey) -> Response:
    """`secret` goes out here and nowhere else."""
    ends = [each["expires_at"] for each in endpoint.signing_keys() if each["id"] != key["id"] and each["expires_at"]]
    shown = {name: key[name] for name in ("id", "scheme", "secret")}
    return Response({**shown, "overlap_until": max(ends, default=None)})


class RotateSecretView(TenantAPIView):
    """Makes a new signing secret, which is answered this once. The old ones sign beside it for the overlap, whatever their
    scheme: receivers accept any signature that they can verify."""

    key_scope = SCOPE

    @extend_schema(request=SecretRotationInput, responses=SecretRotationOutput, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, endpoint_id: str) -> Response:
        endpoint_or_404(endpoint_id)
        given = SecretRotationInput(data=request.data)
        given.is_valid(raise_exception=True)
        values: dict[str, Any] = dict(given.validated_data)
        overlap = timedelta(seconds=values.pop("overlap_seconds"))
        with transaction.atomic():
            try:
                endpoint, key = services.rotate_secret(endpoint_id=endpoint_id, overlap=overlap, **values)
            except Endpoint.DoesNotExist as error:  # deleted between the two
                raise Http404 from error
            attach("signing_key", key["id"])
        return _rotated(endpoint, key)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        endpoint = endpoint_or_404(self.kwargs["endpoint_id"])
        found = [key for key in opened_keys(endpoint) if key["id"] == object_id]
        if not found:
            raise Http404
        return _rotated(endpoint, found[0])


class PublicKeysView(APIView):
    """The public keys that verify this endpoint's `v1a` signatures, newest first. Anybody may ask: receivers do."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]

    @extend_schema(responses=PublicKeysOutput, auth=[])
    def get(self, request: Request, endpoint_id: str) -> Response:
        endpoint: Endpoint | None = Endpoint.unscoped.filter(pk=endpoint_id, deleted_at__isnull=True).first()
        try:
            keys = signing.in_use(endpoint.signing_keys(), clock.now()) if endpoint else []
        except SecretUnreadable:
            keys = []
        shown = [
            {
                "id": key["id"],
                "scheme": key["scheme"],
                "public_key": signing.public_key(key["secret"]),
                "created": key["created"],
                "expires_at": key["expires_at"],
            }
            for key in keys
            if key["scheme"] == signing.ASYMMETRIC
        ]
        if not shown:
            raise Http404
        return Response({"keys": shown}, headers={"Cache-Control": "public, max-age=60"})


routes: list[URLPattern] = [
    re_path(rf"^webhooks/{ENDPOINT}/rotate-secret$", RotateSecretView.as_view()),
    re_path(rf"^webhooks/{ENDPOINT}/public-keys$", PublicKeysView.as_view()),
]
