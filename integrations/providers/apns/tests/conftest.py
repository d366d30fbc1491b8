"""What the tests of this folder share: a key, a config, a recording HTTP port, tokens, the fixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.messaging import Target
from integrations.contracts.push import PushNotification
from integrations.providers.apns.adapter import ApnsPush
from integrations.providers.apns.provider import PROVIDER

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
TOKEN = "ab12" * 16
KEY = ec.derive_private_key(4711, ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PRODUCTION, SANDBOX = (PROVIDER.base_urls[each] for each in (Environment.PRODUCTION, Environment.SANDBOX))


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


@dataclass
class RecordingHttp:
    """Answers with what the test put in `replies`, in order (an exception is raised), and keeps what was asked."""

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
        given |= {"form": form, "body": body, "headers": headers, "auth": auth, "timeout": timeout}
        self.calls.append({name: value for name, value in given.items() if value is not None})
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.replies.append(Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 12))


@dataclass
class Tokens:
    """A token store as the port promises it; `given` counts the tokens fetched."""

    held: str = ""
    given: int = 0
    lifetime: float = 0.0

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        if not self.held or self.held == rejected:
            fetched = fetch()
            self.held, self.lifetime = fetched.access_token, fetched.expires_in
            self.given += 1
        return self.held


def view(environment: Environment = Environment.PRODUCTION, base_url: str = "", **changes: Any) -> ConfigView:
    values = {"team_id": "TEAM000001", "key_id": "KEY0000001", "private_key": PEM, "bundle_id": "com.example.app", **changes}
    plain, secrets = PROVIDER.config.clean(values)
    return ConfigView(
        id=1,
        tenant_id=1,
        provider=PROVIDER.slug,
        environment=environment,
        base_url=base_url or PROVIDER.base_urls[environment],
        values=plain,
        secrets=secrets,
    )


def make_adapter(http: Any, config: ConfigView | None = None, tokens: Tokens | None = None) -> ApnsPush:
    return ApnsPush(config=config or view(), http=http, tokens=tokens or Tokens(held="jwt"), clock=lambda: NOW)


def notification(token: str = TOKEN, ref: str = "r_1", **changes: Any) -> PushNotification:
    given: dict[str, Any] = {"title": "Order shipped", "body": "Arrives today", **changes}
    return PushNotification("msg_1", Target(token, ref=ref), **given)


@pytest.fixture
def http() -> RecordingHttp:
    return RecordingHttp()
