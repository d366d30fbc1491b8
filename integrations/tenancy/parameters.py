"""Header parameters that several routes take."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="The same key and body give the stored answer, for 24 hours."
)
