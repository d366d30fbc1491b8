"""The real adapter, the hub's client and the simulator over real sockets."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.inbound import BadSignature, InboundEvent, InboundRequest, MessageReceived, MessageReported
from integrations.contracts.messaging import Media, MessageState
from integrations.contracts.whatsapp import TemplateUse
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.whatsapp.adapter import WhatsAppCloud
from integrations.providers.whatsapp.provider import PROVIDER
from integrations.providers.whatsapp.simulator import WhatsAppSimulator
from integrations.providers.whatsapp.tests.support import NOW, ORIGIN, NoTokens, message
from integrations.providers.whatsapp.webhook import WhatsAppWebhook
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Receiver, pass_time, wait_for

SLUG = PROVIDER.slug
SHIPPED = TemplateUse("order_shipped", "en_US", body=("Jane", "1042"), buttons={0: "1042"})
PDF = Media("fees.pdf", "application/pdf", content=b"%PDF-1.7 \xe4\x00\r\n")


@dataclass
class Hub:
    """One account seen from the hub."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    account: DemoAccount

    def view(self, base_url: str = "", **changes: Any) -> ConfigView:
        plain, secrets = PROVIDER.config.clean({**self.account.values, **self.account.secrets, **changes})
        return ConfigView(
            id=1, tenant_id=1, provider=SLUG, environment=Environment.SIMULATOR,
            base_url=base_url or f"{self.running.url}/{SLUG}", values=plain, secrets=secrets,
        )  # fmt: skip

    def adapter(self, base_url: str = "", **changes: Any) -> WhatsAppCloud:
        config = self.view(base_url, **changes)
        http = HttpClient(
            provider=SLUG,
            base_url=config.base_url,
            mask=Mask(keys=PROVIDER.masked_keys),
            recorder=SilentRecorder(),
            timeout=(2, 5),
        )
        return WhatsAppCloud(config=config, http=http, tokens=NoTokens(), clock=lambda: NOW)

    def control(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.running.url}/control/{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", f"{SLUG}/messages")["messages"]
        return found

    def writes(self, number: str, text: str = "Hi", **more: Any) -> str:
        body = {"account": self.account.label, "from": number, "text": text, **more}
        return str(self.control("POST", f"{SLUG}/inbound", body)["id"])

    def events(self, count: int) -> list[InboundEvent]:
        """Let time pass until so many webhooks came; return what they say, each verified."""

        def look() -> bool:
            pass_time(self.running, self.clock, 0.1)
            return len(self.hooks.received) >= count

        wait_for(look)
        hook, found = WhatsAppWebhook(), []
        for each in self.hooks.received:
            request = InboundRequest("POST", "events", {}, each.headers, each.body)
            hook.verify(request, self.view(), by_token=True)
            found += hook.parse(request, ORIGIN)
        return found

    def statuses(self, count: int) -> list[tuple[str, str]]:
        found = [event for event in self.events(count) if isinstance(event, MessageReported)]
        assert {event.ref for event in found} == {"m7_c42"}
        return [(event.provider_status, event.detail) for event in found]


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Hub]:
    clock = ManualClock(NOW.timestamp())
    with Receiver() as hooks, running_simulators([WhatsAppSimulator], state_dir=tmp_path, clock=clock) as running:
        hub = Hub(running, clock, hooks, running.simulator(SLUG).accounts[0])
        hub.control("PUT", f"{SLUG}/accounts/school", {"webhook_url": f"{hooks.url}/hooks/0123/events"})
        yield hub
        assert running.violations == []


def test_a_template_reaches_the_phone(school: Hub) -> None:
    result = school.adapter().send(message(text="", template=SHIPPED))
    assert (result.state, result.provider_ref[:6]) == (MessageState.SENT, "wamid.")
    (row,) = school.messages()
    assert (row["id"], row["to"], row["channel"], row["ref"]) == (result.provider_ref, "+254711000001", "whatsapp", "m7_c42")
    assert row["text"] == "Hello Jane, your order 1042 is on its way."
    (shown,) = school.control("GET", "phone/inbox?number=254711000001")
    assert (shown["sender"], shown["text"]) == ("Demo School", row["text"])
    assert school.statuses(2) == [("sent", ""), ("delivered", "")]
    assert school.messages()[0]["state"] == "delivered"


def test_free_text_only_after_the_customer_wrote(school: Hub) -> None:
    refused = school.adapter().send(message())
    assert (refused.state, refused.provider_code, refused.retryable) == (MessageState.FAILED, "131047", False)
    assert school.messages() == []
    wamid = school.writes("+254711000001", name="Jane")
    assert school.adapter().send(message(reply_to=wamid)).state is MessageState.SENT
    school.adapter().mark_read(wamid)
    with pytest.raises(InvalidRequest):
        school.adapter().mark_read("wamid.nobody")
    school.clock.advance(86_400.5)
    assert school.adapter().send(message()).provider_code == "131047"
    assert [(row["text"], row["reply_to"]) for row in school.messages()] == [("Fees received. Asante.", wamid)]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("026", [("failed", "undeliverable: no WhatsApp on this number, an old app, or the sender is blocked (131026)")]),
        ("049", [("failed", "not delivered by Meta to keep marketing messages few; not before a day has passed (131049)")]),
        ("900", [("sent", ""), ("read", "")]),
        ("901", [("sent", ""), ("delivered", ""), ("delivered", "")]),
    ],
)
def test_numbers_with_another_fate(school: Hub, tail: str, expected: list[tuple[str, str]]) -> None:
    result = school.adapter().send(message(f"+254711000{tail}", text="", template=SHIPPED))
    assert result.state is MessageState.SENT
    assert school.statuses(len(expected)) == expected


def test_numbers_that_are_refused_once(school: Hub) -> None:
    adapter = school.adapter()
    pair = message("+254711000056", text="", template=SHIPPED)
    refused = adapter.send(pair)
    assert (refused.provider_code, refused.retryable, refused.retry_after) == ("131056", True, 6.0)
    assert adapter.send(pair).state is MessageState.SENT
    fast = message("+254711000429", text="", template=SHIPPED)
    with pytest.raises(RateLimited) as caught:
        adapter.send(fast)
    assert (caught.value.provider_code, caught.value.retry_after) == ("130429", 2.0)
    assert adapter.send(fast).state is MessageState.SENT
    assert [row["to"] for row in school.messages()] == ["+254711000056", "+254711000429"]


@pytest.mark.parametrize(
    ("changes", "error_class", "code"),
    [
        ({"to": "+254711000190"}, AuthenticationFailed, "190"),
        ({"template": TemplateUse("paused_offer", "en")}, InvalidRequest, "132015"),
        ({"template": TemplateUse("nobody_knows", "en")}, InvalidRequest, "132001"),
        ({"template": TemplateUse("order_shipped", "fr")}, InvalidRequest, "132001"),
        ({"template": TemplateUse("order_shipped", "en_US", body=("Jane",), buttons={0: "1"})}, InvalidRequest, "132000"),
        ({"template": TemplateUse("report_card", "en", body=("Jane",))}, InvalidRequest, "132012"),
        ({"template": TemplateUse("order_shipped", "en_US", body=("Ja\nne", "1"), buttons={0: "1"})}, InvalidRequest, "132012"),
    ],
)
def test_requests_that_are_refused(school: Hub, changes: dict[str, Any], error_class: type[ProviderError], code: str) -> None:
    with pytest.raises(error_class) as caught:
        school.adapter().send(message(**{"text": "", "template": SHIPPED, **changes}))
    assert (type(caught.value), caught.value.provider_code) == (error_class, code)
    assert school.messages() == []


def test_the_own_number_is_no_recipient(school: Hub) -> None:
    result = school.adapter().send(message("+254700000042", text="", template=SHIPPED))
    assert (result.state, result.provider_code) == (MessageState.FAILED, "131021")


def test_files_by_upload_and_by_link(school: Hub) -> None:
    school.writes("+254711000001")
    adapter = school.adapter()
    adapter.send(message(text="The fees", media=PDF))
    adapter.send(message(text="", media=Media("p.png", "image/png", url="https://shop.example/p.png")))
    adapter.send(message(text="", template=TemplateUse("report_card", "en", body=("Jane",), header_media=PDF)))
    assert [(row["type"], row["text"]) for row in school.messages()] == [
        ("document", "[document fees.pdf] The fees"),
        ("image", "[image]"),
        ("template", "[document fees.pdf]\nThe report of Jane."),
    ]


def test_what_a_customer_sends_can_be_fetched(school: Hub) -> None:
    content = bytes(range(256))
    media = {"kind": "image", "content_type": "image/jpeg", "content": base64.b64encode(content).decode()}
    school.writes("+254711000001", "The receipt", media=media)
    (event,) = school.events(1)
    assert isinstance(event, MessageReceived)
    assert (event.text, event.to, event.address) == ("The receipt", "+254700000042", "+254711000001")
    ((content_type, media_id),) = event.media
    found = school.adapter().fetch_media(media_id)
    assert (content_type, found.content_type, found.content) == ("image/jpeg", "image/jpeg", content)
    with pytest.raises(NotFound):
        school.adapter().fetch_media("700000000000000")


def test_templates_are_listed(school: Hub) -> None:
    found = {(each.name, each.language): each for each in school.adapter().templates()}
    assert len(found) == 10
    shipped = found["order_shipped", "en_US"]
    assert (shipped.status, shipped.parameters, shipped.header, shipped.buttons) == ("approved", 2, "", 1)
    assert found["report_card", "en"].header == "document"
    assert found["paused_offer", "en"].status == "paused"
    school.control("PUT", f"{SLUG}/templates/school/fees_due", {"status": "DISABLED"})
    assert {each.language: each.status for each in school.adapter().templates() if each.name == "fees_due"} == {
        "en": "disabled",
        "sw": "disabled",
    }
    assert school.events(2) == []


def test_the_connection_and_its_failures(school: Hub) -> None:
    assert school.adapter().test_connection().detail == "Signed in as Demo School (+254700000042). Quality: green."
    for changes in ({"access_token": "EAAGwrong-token-0000"}, {"phone_number_id": "400000000000043"}):
        with pytest.raises(AuthenticationFailed):
            school.adapter(**changes).test_connection()
    with pytest.raises(InvalidRequest):
        school.adapter(waba_id="300000000000043").templates()


def test_webhooks_are_registered_once(school: Hub) -> None:
    url = f"{school.hooks.url}/hooks/4567/events"
    assert "now reports" in school.adapter().register_webhooks({"events": url}).detail
    assert school.adapter().register_webhooks({"events": url}).detail == "Meta calls this URL already."
    school.adapter().send(message(text="", template=SHIPPED))
    assert school.statuses(2) == [("sent", ""), ("delivered", "")]
    assert {each.path for each in school.hooks.received} == {"/hooks/4567/events"}


@pytest.mark.parametrize(
    ("fault", "error_class", "accepted"),
    [
        ("error_500", OutcomeUnknown, 0),
        ("error_500_after", OutcomeUnknown, 1),
        ("drop_after_accept", OutcomeUnknown, 1),
        ("error_429", RateLimited, 0),
    ],
)
def test_faults(school: Hub, fault: str, error_class: type[ProviderError], accepted: int) -> None:
    school.control("POST", f"{SLUG}/faults", {"operation": "send", "fault": fault})
    with pytest.raises(error_class) as caught:
        school.adapter().send(message(text="", template=SHIPPED))
    assert type(caught.value) is error_class
    assert len(school.messages()) == accepted
    if accepted:  # the note comes back and settles it
        assert school.statuses(2) == [("sent", ""), ("delivered", "")]


def test_a_lost_upload_is_only_unavailable(school: Hub) -> None:
    school.writes("+254711000001")
    school.control("POST", f"{SLUG}/faults", {"operation": "media", "fault": "drop_after_accept"})
    with pytest.raises(ProviderUnavailable):
        school.adapter().send(message(text="", media=PDF))
    assert school.messages() == []


def test_nobody_listens(school: Hub) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with pytest.raises(ProviderUnavailable) as caught:
            school.adapter(f"http://127.0.0.1:{taken.getsockname()[1]}").send(message())
    assert type(caught.value) is ProviderUnavailable


def test_an_early_report_comes_before_the_answer(school: Hub) -> None:
    school.control("POST", f"{SLUG}/faults", {"operation": "send", "fault": "early_callback"})
    result = school.adapter().send(message(text="", template=SHIPPED))
    (early,) = school.hooks.received
    (event,) = WhatsAppWebhook().parse(InboundRequest("POST", "events", {}, early.headers, early.body), ORIGIN)
    assert isinstance(event, MessageReported)
    assert (event.ref, event.provider_ref, event.provider_status) == ("m7_c42", result.provider_ref, "sent")


def test_the_other_accounts_webhooks_are_not_ours(school: Hub) -> None:
    school.control("PUT", f"{SLUG}/accounts/studio", {"webhook_url": f"{school.hooks.url}/studio"})
    school.control("POST", f"{SLUG}/inbound", {"account": "studio", "from": "+254711000001", "text": "Hi"})
    (each,) = school.hooks.wait(1, "/studio")
    request = InboundRequest("POST", "events", {}, each.headers, each.body)
    studio = school.running.simulator(SLUG).accounts[1]
    for config in (school.view(), school.view(app_secret=studio.secrets["app_secret"])):
        with pytest.raises(BadSignature):
            WhatsAppWebhook().verify(request, config, by_token=True)
