"""The real adapter, the hub's client and the simulator over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.inbound import InboundRequest, MessageReported, Origin, Trust
from integrations.contracts.messaging import MessageState, SuppressReason, Target
from integrations.contracts.sms import SmsMessage
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.africastalking.adapter import AfricasTalkingSms
from integrations.providers.africastalking.provider import PROVIDER
from integrations.providers.africastalking.simulator import AfricasTalkingSimulator
from integrations.providers.africastalking.tests.conftest import NoTokens
from integrations.providers.africastalking.webhook import AfricasTalkingWebhook
from integrations.simulators import ManualClock, running_simulators

SLUG = PROVIDER.slug
NUMBER = "+254711000123"
Make = Callable[..., AfricasTalkingSms]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def simulator(tmp_path: Path, clock: ManualClock) -> Iterator[running_simulators]:
    with running_simulators([AfricasTalkingSimulator], state_dir=tmp_path, clock=clock) as running:
        yield running
        assert running.violations == []


@pytest.fixture
def make(simulator: running_simulators, tmp_path: Path) -> Make:
    account = AfricasTalkingSimulator.demo_accounts(tmp_path)[0]

    def build(base_url: str = "", **changes: Any) -> AfricasTalkingSms:
        plain, secrets = PROVIDER.config.clean({**account.values, **account.secrets, **changes})
        url = base_url or f"{simulator.url}/{SLUG}"
        config = ConfigView(
            id=1, tenant_id=1, provider=SLUG, environment=Environment.SIMULATOR, base_url=url, values=plain, secrets=secrets
        )
        client = HttpClient(
            provider=SLUG, base_url=url, mask=Mask(keys=PROVIDER.masked_keys), recorder=SilentRecorder(), timeout=(2, 5)
        )
        return AfricasTalkingSms(config=config, http=client, tokens=NoTokens(), clock=lambda: datetime.now(UTC))

    return build


def text(*numbers: str, sender: str = "") -> SmsMessage:
    return SmsMessage("msg_1", tuple(Target(each) for each in numbers or (NUMBER,)), "Fees received.", sender)


def set_fault(simulator: running_simulators, name: str, operation: str = "sms_send", **details: Any) -> None:
    body = {"operation": operation, "fault": name, **details}
    requests.post(f"{simulator.url}/control/{SLUG}/faults", json=body, timeout=5).raise_for_status()


def inbox(simulator: running_simulators, number: str = NUMBER) -> list[str]:
    reply = requests.get(f"{simulator.url}/control/phone/inbox", params={"number": number}, timeout=5).json()
    return [row["text"] for row in (reply["messages"] if isinstance(reply, dict) else reply)]


@pytest.mark.parametrize("path", ["classic", "bulk"])
def test_a_text_reaches_the_phone(simulator: running_simulators, make: Make, path: str) -> None:
    (result,) = make(path=path).send(text()).recipients
    assert (result.address, result.state, result.provider_code) == (NUMBER, MessageState.SENT, "101")
    assert (result.cost, result.currency) == (Decimal("0.8"), "KES")
    assert result.provider_ref.startswith("ATXid_")
    assert inbox(simulator) == ["Fees received."]


def test_the_money_is_gone_from_the_wallet(make: Make) -> None:
    before = make().balance()
    make().send(text("+254711000010", "+254711000011", "+254711000012", "+254711000013", "+254711000014"))
    after = make().balance()
    assert (before.currency, after.currency) == ("KES", "KES")
    assert before.amount - after.amount == Decimal(4)


@pytest.mark.parametrize(
    ("tail", "retryable", "suppress"),
    [
        ("401", False, None),
        ("402", False, None),
        ("403", False, None),
        ("404", False, None),
        ("405", True, None),
        ("406", False, SuppressReason.OPT_OUT),
        ("407", False, None),
        ("409", True, None),
        ("500", True, None),
        ("501", True, None),
        ("502", True, None),
    ],
)
def test_refused_numbers_beside_an_accepted_one(
    make: Make, tail: str, retryable: bool, suppress: SuppressReason | None
) -> None:
    refused, accepted = make().send(text(f"+254711000{tail}", NUMBER)).recipients
    assert (refused.state, refused.provider_code, refused.provider_ref) == (MessageState.FAILED, tail, "")
    assert (refused.retryable, refused.suppress) == (retryable, suppress)
    assert (accepted.address, accepted.state) == (NUMBER, MessageState.SENT)


def test_a_sender_that_is_not_ours(simulator: running_simulators, make: Make) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make().send(text(sender="NOTOURS"))
    assert caught.value.attr == "sender"
    assert inbox(simulator) == []


@pytest.mark.parametrize("changes", [{"api_key": "wrong-key-000000"}, {"username": "somebody"}])
def test_wrong_credentials(make: Make, changes: dict[str, str]) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        make(**changes).test_connection()
    assert caught.value.message == "The supplied authentication is invalid"


def test_connection_test(make: Make) -> None:
    result = make().test_connection()
    assert (result.ok, result.detail) == (True, "Signed in as demoschool. Balance: KES 1,785.50.")


@pytest.mark.parametrize(
    ("fault", "error_class", "texts"),
    [
        ("error_500", OutcomeUnknown, 0),
        ("drop_after_accept", OutcomeUnknown, 1),
        ("error_429", RateLimited, 0),
    ],
)
def test_faults(simulator: running_simulators, make: Make, fault: str, error_class: type[ProviderError], texts: int) -> None:
    set_fault(simulator, fault)
    with pytest.raises(error_class) as caught:
        make().send(text())
    assert type(caught.value) is error_class
    assert len(inbox(simulator)) == texts


def test_nobody_listens(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with pytest.raises(ProviderUnavailable) as caught:
            make(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}").send(text())
    assert type(caught.value) is ProviderUnavailable


class _Catcher(BaseHTTPRequestHandler):
    received: Queue[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.put((self.path, dict(self.headers), body))
        ack = AfricasTalkingWebhook().ack(InboundRequest("POST", "dlr", {}, {}, body))
        self.send_response(ack.status)
        self.send_header("Content-Length", str(len(ack.body)))
        self.end_headers()
        self.wfile.write(ack.body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def reports(simulator: running_simulators) -> Iterator[Queue[tuple[str, dict[str, str], bytes]]]:
    """What the simulator posts as delivery reports of the first account."""
    received: Queue[tuple[str, dict[str, str], bytes]] = Queue()
    server = HTTPServer(("127.0.0.1", 0), type("Catcher", (_Catcher,), {"received": received}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/hooks/0123/dlr"
    control = f"{simulator.url}/control/{SLUG}"
    requests.put(f"{control}/accounts/demoschool", json={"dlr_url": url}, timeout=5).raise_for_status()
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+254711000123", [("Sent", "sent", "", None), ("Success", "delivered", "", None)]),
        ("+254711000900", [("AbsentSubscriber", "failed", "the phone is off or out of coverage (temporary)", None)]),
        ("+254711000901", [("Failed", "failed", "UserDoesNotExist", SuppressReason.INVALID)]),
        ("+254711000904", [("Success", "delivered", "", None)]),
    ],
)
def test_the_simulators_reports_are_understood(
    make: Make,
    clock: ManualClock,
    reports: Queue[tuple[str, dict[str, str], bytes]],
    number: str,
    expected: list[tuple[str, str, str, bool]],
) -> None:
    hook = AfricasTalkingWebhook()
    (result,) = make().send(text(number)).recipients
    seen = []
    for _ in expected:
        clock.advance(0.5)  # one report falls due, so they come in their order
        path, headers, body = reports.get(timeout=30)
        received = InboundRequest("POST", "dlr", {}, headers, body)
        assert path == "/hooks/0123/dlr"
        assert hook.verify(received, None, by_token=True).trust is Trust.TOKEN
        assert hook.locate(received)[0].external_id == result.provider_ref
        (event,) = hook.parse(received, Origin(tenant_id=1, config_id=1, trust=Trust.TOKEN, receipt_id=1))
        assert isinstance(event, MessageReported)
        assert (event.provider_ref, event.address) == (result.provider_ref, number)
        seen.append((event.provider_status, event.state, event.detail, event.suppress))
    assert seen == expected
