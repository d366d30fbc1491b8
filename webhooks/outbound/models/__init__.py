"""Events, endpoints, deliveries and attempts: what happened, who wants to know, what is owed to whom, and each try."""

from webhooks.outbound.models.deliveries import (
    MAX_ATTEMPTS,
    POSITION_SEQUENCE,
    DeadReason,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
)
from webhooks.outbound.models.endpoints import (
    Breaker,
    Endpoint,
    EndpointHealth,
    Ordering,
    PayloadFormat,
    SigningKey,
    subscribes,
)
from webhooks.outbound.models.events import Event, EventTypeDefinition
from webhooks.outbound.models.policies import RetentionPolicy
from webhooks.outbound.models.portal_links import PortalLink
from webhooks.outbound.models.replays import Replay, ReplayMode, ReplayState

__all__ = [
    "MAX_ATTEMPTS",
    "POSITION_SEQUENCE",
    "Breaker",
    "DeadReason",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryState",
    "Endpoint",
    "EndpointHealth",
    "Event",
    "EventTypeDefinition",
    "Ordering",
    "PayloadFormat",
    "PortalLink",
    "Replay",
    "ReplayMode",
    "ReplayState",
    "RetentionPolicy",
    "SigningKey",
    "subscribes",
]
