"""The declaration of Firebase Cloud Messaging (HTTP v1). What a config holds and what it is checked for stands here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Secret, Text


def check_environment(values: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    """Refuse a key file that can't work in any environment: not a service account's, damaged, of another cloud."""
    # Imported here: declaring a provider loads no cryptography.
    from integrations.providers.fcm.account import problem_of

    given = values.get("service_account")
    problem = problem_of(given) if given else ""
    return {"service_account": problem} if problem else {}


CONFIG = ConfigSchema(
    Secret(
        name="service_account",
        label="Service account key (JSON)",
        help="Firebase console > Project settings > Service accounts > Generate new private key: all that is in the file.",
        multiline=True,
        max_length=8000,
    ),
    Text(
        name="android_channel",
        label="Android notification channel",
        help="The id of a channel that the app has created. Empty: the default that the app declares.",
        pattern=r"[A-Za-z0-9._:-]{1,100}",
        required=False,
    ),
)

PROVIDER = Provider(
    slug="fcm",
    name="Firebase Cloud Messaging",
    description="Push notifications to Android, iOS and web apps of one Firebase project, to devices and to topics.",
    docs_url="https://firebase.google.com/docs/cloud-messaging/send/v1-api",
    package="integrations.providers.fcm",
    config=CONFIG,
    adapters={Capability.PUSH: "adapter:FcmPush"},
    simulator="simulator:FcmSimulator",
    # One host: there is no sandbox. A sandbox config has each message checked by Firebase (`validate_only`) and sends none.
    base_urls={
        Environment.PRODUCTION: "https://fcm.googleapis.com",
        Environment.SANDBOX: "https://fcm.googleapis.com",
    },
    masked_keys=frozenset({"assertion", "registration_tokens", "fid"}),
    # A project may send 600,000 a minute (firebase.google.com, throttling and quotas, 2026-11); bursts draw 429 long before.
    rate_limit=RateLimit(rate=200, burst=400),
    timeout=(5.0, 15.0),
    check_environment=check_environment,
    requirements=(
        "A Firebase project with the app registered in it, and the Firebase Cloud Messaging API (V1) enabled.",
        "A key file (JSON) of a service account of this project that may send messages.",
        "For iOS: the APNs key, uploaded in the Firebase console. For web: the web push certificate there.",
    ),
)
