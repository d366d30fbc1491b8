"""What the tests of this folder share: a key file, a config, a recording HTTP port, the fixtures. No database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.messaging import Target
from integrations.contracts.push import PushNotification
from integrations.providers.fcm.adapter import FcmPush
from integrations.providers.fcm.provider import CONFIG, PROVIDER
from integrations.providers.fcm.tests.discovery import check_request

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
NOW = datetime(2026, 11, 21, 8, 43, 20, tzinfo=UTC)
DEVICE = "dXk3c0pQ:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
EMAIL = "hub-push@shop-prod.iam.gserviceaccount.com"


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


@lru_cache(maxsize=4)
def private_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def key_file(**changed: Any) -> str:
    """Return a key file as Firebase gives it; a value of None leaves the member out."""
    data = {
        "type": "service_account",
        "project_id": "shop-prod",
        "private_key_id": "3f9c0a7be1d24586a0f1b2c3d4e5f60718293a4b",
        "private_key": pem(private_key()),
        "client_email": EMAIL,
        "client_id": "104857600000000000001",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
        **changed,
    }
    return json.dumps({name: value for name, value in data.items() if value is not None}, indent=2)


def view(environment: Environment = Environment.PRODUCTION, **changed: Any) -> ConfigView:
    plain, secrets = CONFIG.clean({"service_account": key_file(), **changed})
    return ConfigView(
        id=1,
        tenant_id=1,
        provider=PROVIDER.slug,
        environment=environment,
        base_url="https://fcm.googleapis.com",
        values={"android_channel": None, **plain},
        secrets=secrets,
    )


@dataclass
class RecordingHttp:
    """Answers with what the test put in `replies`, in order (raising what is an exception), and keeps what was asked.

    Each send request is held against Google's own description of the API.
    """

    replies: list[Reply | Exception] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def request(
        self,
        method: str,
        url: str,
        *,
        operation: str,
        safe: bool | None = None,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> Reply:
        given = {"method": method, "url": url, "operation": operation, "safe": safe, "query": query, "json": json}
        given |= {"form": form, "body": body, "headers": headers, "auth": auth}
        self.calls.append({name: value for name, value in given.items() if value is not None})
        if url.endswith("messages:send"):
            check_request(json)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def answer(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.replies.append(Reply(status, dict(headers or {}), body, 12))

    @property
    def message(self) -> dict[str, Any]:
        """Return the message of the last call."""
        found: dict[str, Any] = self.calls[-1]["json"]["message"]
        return found


@dataclass
class MemoryTokens:
    """A token store of one process. `held` is what it would hand out; `fetched` how often it had to fetch."""

    held: str = ""
    fetched: int = 0
    lives: list[float] = field(default_factory=list)

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        if not self.held or self.held == rejected:
            self.held = ""
            token = fetch()
            self.fetched += 1
            self.lives.append(token.expires_in)
            self.held = token.access_token
        return self.held


def make_adapter(http: Any, config: ConfigView | None = None, tokens: MemoryTokens | None = None) -> FcmPush:
    return FcmPush(config=config or view(), http=http, tokens=tokens or MemoryTokens("held-token"), clock=lambda: NOW)


def notification(address: str = DEVICE, **changed: Any) -> PushNotification:
    given: dict[str, Any] = {"title": "Order shipped", "body": "Arrives today", **changed}
    given.setdefault("target", Target(address, ref="m7") if address else None)
    return PushNotification(message_id="msg_1", **given)
