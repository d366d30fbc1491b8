"""What the tests of this folder share: a config, a recording HTTP port, the fixtures. No database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.providers.africastalking.adapter import AfricasTalkingSms
from integrations.providers.africastalking.provider import PROVIDER

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
API_KEY = "canary-4f7d2b90c1e8"


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


@dataclass
class RecordingHttp:
    """Answers with what the test put in `replies`, in order, and keeps what was asked."""

    replies: list[Reply] = field(default_factory=list)
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
        return self.replies.pop(0)

    def answer(self, body: bytes, status: int = 201, headers: Mapping[str, str] | None = None) -> None:
        self.replies.append(Reply(status, dict(headers or {}), body, 12))


class NoTokens:
    """This provider has no access tokens: asking for one is a mistake."""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        raise AssertionError("no token is needed")


def view(base_url: str = "https://api.example", **changes: Any) -> ConfigView:
    values = {"username": "springfield", "api_key": API_KEY, "sender_id": "SPRINGFIELD", **changes}
    plain, secrets = PROVIDER.config.clean(values)
    return ConfigView(
        id=1, tenant_id=1, provider=PROVIDER.slug, environment=Environment.SIMULATOR, base_url=base_url,
        values=plain, secrets=secrets,
    )  # fmt: skip


NIGHT = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)


def make_adapter(http: Any, config: ConfigView | None = None) -> AfricasTalkingSms:
    return AfricasTalkingSms(config=config or view(), http=http, tokens=NoTokens(), clock=lambda: NIGHT)


@pytest.fixture
def http() -> RecordingHttp:
    return RecordingHttp()
