"""What the tests of this folder share: a config, a recording HTTP port, messages, the fixtures. No database."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from integrations.contracts.adapter import ConfigView, FetchedToken, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.inbound import Origin, Trust
from integrations.contracts.messaging import Target
from integrations.providers.sendgrid.adapter import SendGridEmail
from integrations.providers.sendgrid.provider import PROVIDER

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
API_KEY = "SG.canary4f7d2b90c1e8abcd.canary-5c1e8f7d2b90canary-5c1e8f7d2b90canary"
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
JANE, JOHN, ZOE = (
    Target("jane@example.net", "m7_1", "Jane"),
    Target("john@example.net", "m7_2"),
    Target("zoe@example.net", "m7_3"),
)
SHOP = Mailbox("no-reply@shop.example", "Shop")
ORIGIN = Origin(tenant_id=3, config_id=7, trust=Trust.SIGNED, receipt_id=5)


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


@dataclass
class RecordingHttp:
    """Answers with what the test put in `replies`, in order, and keeps what was asked."""

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
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def answer(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.replies.append(Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 12))

    def accept(self, ref: str = "Qk7vXb2LTrWn0cYpJ4sD1g") -> None:
        self.answer(status=202, x_message_id=ref)

    def refuse(self, status: int, *errors: tuple[str, str | None], **headers: str) -> None:
        entries = [{"message": message, "field": place, "help": None} for message, place in errors]
        self.answer(jsonlib.dumps({"errors": entries}).encode(), status, **headers)

    @property
    def sent(self) -> Any:
        """The body of the last request."""
        return self.calls[-1]["json"]


class NoTokens:
    """This provider has no access tokens: asking for one is a mistake."""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        raise AssertionError("no token is needed")


def view(
    environment: Environment = Environment.PRODUCTION, base_url: str = "https://api.sendgrid.com", **given: Any
) -> ConfigView:
    """Return an opened config as the registry makes it: every field there, None where empty."""
    plain, secrets = PROVIDER.config.clean({"api_key": API_KEY, **given})
    return ConfigView(
        id=7,
        tenant_id=3,
        provider=PROVIDER.slug,
        environment=environment,
        base_url=base_url,
        values={**{each.name: None for each in PROVIDER.config if not each.secret}, **plain},
        secrets=secrets,
    )


def make_adapter(http: Any, config: ConfigView | None = None) -> SendGridEmail:
    return SendGridEmail(config=config or view(), http=http, tokens=NoTokens(), clock=lambda: NOW)


def envelope(*to: Target, **changes: Any) -> Envelope:
    return Envelope(to=to or (JANE,), **changes)


def message(*envelopes: Envelope, **changes: Any) -> EmailMessage:
    given: dict[str, Any] = {"subject": "Receipt 1042", "text": "Thanks", **changes}
    return EmailMessage("msg_1", SHOP, envelopes or (envelope(),), **given)


@pytest.fixture
def http() -> RecordingHttp:
    return RecordingHttp()
