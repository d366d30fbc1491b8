"""Apple Push Notification service: notifications to apps on Apple's devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Secret, Text


def pause(status: int, headers: Mapping[str, str], body: str) -> float | None:
    """`TooManyRequests` means one device, not the account."""
    return 0.0 if status == 429 and '"TooManyRequests"' in body else None


def check_environment(values: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    """Return what is wrong with the signing key. One key serves both of Apple's hosts (unless it was limited to one when it
    was made, which nothing in it tells), so that it does not depend on `environment`."""
    from integrations.providers.apns.jwt import UnreadableKey, load_key

    text = values.get("private_key")
    if not text:
        return {}
    try:
        load_key(str(text))
    except UnreadableKey as error:
        return {"private_key": str(error)}
    return {}


PROVIDER = Provider(
    slug="apns",
    name="Apple Push Notification service",
    description="Push notifications to apps on iPhone, iPad, Mac and Apple Watch.",
    docs_url="https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns",
    package="integrations.providers.apns",
    config=ConfigSchema(
        Text(
            name="team_id",
            label="Team ID",
            help="developer.apple.com > Account > Membership details. Ten characters.",
            pattern=r"[A-Z0-9]{10}",
            max_length=10,
        ),
        Text(
            name="key_id",
            label="Key ID",
            help="Certificates, Identifiers & Profiles > Keys: the ten characters beside the key; also in the file's name.",
            pattern=r"[A-Z0-9]{10}",
            max_length=10,
        ),
        Secret(
            name="private_key",
            label="Signing key",
            help="All of the .p8 file, from BEGIN to END. Apple lets you download it once.",
            multiline=True,
        ),
        Text(
            name="bundle_id",
            label="Bundle ID",
            help="The app's identifier, such as com.example.app.",
            pattern=r"[A-Za-z0-9.-]+",
            max_length=155,
        ),
    ),
    adapters={Capability.PUSH: "adapter:ApnsPush"},
    base_urls={
        Environment.PRODUCTION: "https://api.push.apple.com",
        Environment.SANDBOX: "https://api.sandbox.push.apple.com",
    },
    simulator="simulator:ApnsSimulator",
    http2=True,
    masked_keys=frozenset({"authorization"}),
    # Apple publishes no limit (2026-11); this is what one connection carries with ease.
    rate_limit=RateLimit(rate=100, burst=200),
    timeout=(5.0, 15.0),
    check_environment=check_environment,
    pause=pause,
    requirements=(
        "Membership in the Apple Developer Program, with the role Account Holder or Admin.",
        "A key with Apple Push Notifications service enabled (.p8 file), its Key ID and the Team ID.",
        "The app's bundle ID, with the capability Push Notifications switched on.",
    ),
)
