"""What the tests of this folder share: a config, messages, the real client, a real mail server, the simulator. No database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations.contracts.adapter import ConfigView, FetchedToken
from integrations.contracts.capabilities import Environment
from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.messaging import Target
from integrations.http.client import HttpClient
from integrations.http.masking import Mask
from integrations.providers.smtp.adapter import SmtpEmail
from integrations.providers.smtp.provider import PROVIDER
from integrations.providers.smtp.simulator import SmtpSimulator
from integrations.simulators import running_simulators

SLUG = PROVIDER.slug
NOW = datetime(2026, 11, 21, 8, 15, tzinfo=UTC)
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
PASSWORD = "canary-5f0c1b77d2aa4e91"
BOUNCE_SECRET = "canary-bounces-83c1f6"
JANE, JOE, ANN = "jane@example.net", "joe@example.net", "ann@example.net"


class NoTokens:
    """A mail server gives no access tokens: asking for one is a mistake."""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        raise AssertionError("no token is needed")


class Recorded:
    """Keeps every exchange as the hub would log it, and in which order exchanges began and the effect was marked."""

    def __init__(self) -> None:
        self.exchanges: list[Any] = []
        self.finished_count = 0
        self.marks = 0

    def started(self, exchange: Any) -> None:
        self.exchanges.append(exchange)

    def finished(self, exchange: Any) -> None:
        self.finished_count += 1

    def mark(self) -> None:
        self.marks += 1

    def of(self, method: str) -> list[Any]:
        return [each for each in self.exchanges if each.method == method]


def fixture(name: str) -> bytes:
    """Return a payload as it came over the wire: mail has CRLF."""
    return (FIXTURES / name).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def view(environment: Environment = Environment.PRODUCTION, api: str = "https://smtp.invalid", **changes: Any) -> ConfigView:
    given = {"base_url": "127.0.0.1:25", "sender_address": "office@school.example", **changes}
    plain, secrets = PROVIDER.config.clean({name: value for name, value in given.items() if value is not None})
    values = {**{field.name: None for field in PROVIDER.config if not field.secret}, **plain}
    return ConfigView(
        id=1,
        tenant_id=1,
        provider=SLUG,
        environment=environment,
        base_url=api,
        values=values,
        secrets={**dict.fromkeys(PROVIDER.config.secret_names), **secrets},
    )


def make_adapter(
    config: ConfigView, recorder: Recorded | None = None, timeout: tuple[float, float] = (2.0, 5.0), clock: Any = None
) -> SmtpEmail:
    recorder = recorder or Recorded()
    client = HttpClient(
        provider=SLUG,
        base_url=config.base_url,
        mask=Mask(keys=PROVIDER.config.secret_names, secrets=[str(each) for each in config.secrets.values() if each]),
        recorder=recorder,
        timeout=timeout,
        before_effect=recorder.mark,
    )
    return SmtpEmail(config=config, http=client, tokens=NoTokens(), clock=clock or (lambda: NOW))


def target(address: str, ref: str = "") -> Target:
    return Target(address, ref=ref)


def message(*addresses: str | Target, **changes: Any) -> EmailMessage:
    """Return a message with an envelope of its own for each address."""
    targets = [each if isinstance(each, Target) else Target(each) for each in addresses or (JANE,)]
    envelopes = tuple(Envelope(to=(each,), message_id=f"msg_1.{number}@school.example") for number, each in enumerate(targets))
    given: dict[str, Any] = {
        "message_id": "msg_1",
        "sender": Mailbox("office@school.example", "Springfield School"),
        "envelopes": envelopes,
        "subject": "School fees",
        "text": "Fees received.\n",
        **changes,
    }
    return EmailMessage(**given)


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[running_simulators]:
    with running_simulators([SmtpSimulator], state_dir=tmp_path) as running:
        yield running
        assert running.violations == []


class Hub:
    """One simulated account seen from the hub."""

    def __init__(self, running: running_simulators, state_dir: Path, number: int = 0) -> None:
        self.running = running
        self.account = SmtpSimulator.demo_accounts(state_dir)[number]
        self.recorder = Recorded()

    def view(self, **changes: Any) -> ConfigView:
        given = {**self.account.values, **self.account.secrets, **changes}
        return view(Environment.SIMULATOR, f"{self.running.url}/{SLUG}", **given)

    def adapter(self, **changes: Any) -> SmtpEmail:
        return make_adapter(self.view(**changes), self.recorder)

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.running.url}/control/{SLUG}{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def fault(self, kind: str, **more: Any) -> None:
        self.control("POST", "/faults", {"operation": "send", "fault": kind, **more})

    def arrived(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.control("GET", "/messages")["messages"]
        return rows


@pytest.fixture
def hub(simulator: running_simulators, tmp_path: Path) -> Hub:
    return Hub(simulator, tmp_path)
