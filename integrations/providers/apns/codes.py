"""Apple's reasons and what the hub makes of them (developer.apple.com, "Handling notification responses", 2026-11)."""

from __future__ import annotations

from integrations.contracts.messaging import SuppressReason

EXPIRED_TOKEN = "ExpiredProviderToken"  # noqa: S105 a reason, not a secret
BAD_DEVICE_TOKEN = "BadDeviceToken"  # noqa: S105 as above
UNREGISTERED = "Unregistered"
TOO_MANY_TOKENS = "TooManyProviderTokenUpdates"
TOO_MANY_REQUESTS = "TooManyRequests"

# Seconds to wait. The first is Apple's interval for new provider tokens, the second what integrators use (unconfirmed).
TOKEN_WAIT = 1200.0
DEVICE_WAIT = 60.0

# The device's own fault, by reason: what to tell people, and why its token is not to be used again ('None': it may be, for
# another app).
DEVICE: dict[str, tuple[str, SuppressReason | None]] = {
    BAD_DEVICE_TOKEN: ("no device has this token, or it belongs to the other environment", SuppressReason.INVALID),
    "DeviceTokenNotForTopic": ("the token belongs to another app", None),
    UNREGISTERED: ("the device takes nothing under this token any more", SuppressReason.DEAD_TOKEN),
    "ExpiredToken": ("the device has another token now", SuppressReason.DEAD_TOKEN),
}

# Final refusals of the request, by reason: which of its parts is wrong.
REQUEST: dict[str, str] = {
    "BadCollapseId": "collapse_key",
    "BadExpirationDate": "ttl",
    "BadMessageId": "message",
    "BadPriority": "urgent",
    "BadTopic": "app",
    "DuplicateHeaders": "message",
    "InvalidPushType": "message",
    "MissingDeviceToken": "to",
    "MissingTopic": "app",
    "PayloadEmpty": "message",
    "PayloadTooLarge": "message",
    "TopicDisallowed": "app",
}

# Certainly not carried out: the server was leaving, or the connection was too old.
UNAVAILABLE = frozenset({"IdleTimeout", "ServiceUnavailable", "Shutdown"})
