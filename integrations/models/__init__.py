"""The core tables. A feature's own tables are in the feature."""

from integrations.models.audit import AuditEntry
from integrations.models.config import Config, ConfigStatus, PrimaryConfig, Provider, ProviderGrant
from integrations.models.log import CallLog, Direction, LogRetention, LogStatus
from integrations.models.operations import Alert, BreakerState, Heartbeat, RateBucket, RateSlot
from integrations.models.queue import OPEN_STATES, Attempt, AttemptState, QueueItem, QueueState
from integrations.models.reference import ExternalReference, IdempotencyRecord, OAuthToken
from integrations.models.tenant import ApiKey, ApiKeyUsage, Membership, Role, Tenant, User

__all__ = [
    "OPEN_STATES",
    "Alert",
    "ApiKey",
    "ApiKeyUsage",
    "Attempt",
    "AttemptState",
    "AuditEntry",
    "BreakerState",
    "CallLog",
    "Config",
    "ConfigStatus",
    "Direction",
    "ExternalReference",
    "Heartbeat",
    "IdempotencyRecord",
    "LogRetention",
    "LogStatus",
    "Membership",
    "OAuthToken",
    "PrimaryConfig",
    "Provider",
    "ProviderGrant",
    "QueueItem",
    "QueueState",
    "RateBucket",
    "RateSlot",
    "Role",
    "Tenant",
    "User",
]
