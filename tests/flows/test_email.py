"""E-mail by the API, over real sockets: two providers that are called by HTTP and a mail server, each with its own reports."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

import pytest

from integrations.messaging.finding import WAITS
from integrations.messaging.jobs.sending import RETRY_WAITS
from integrations.messaging.models import Recipient, Suppression
from integrations.models import Alert, Config, QueueItem
from integrations.providers.mailgun.simulator import fake as mailgun
from integrations.providers.smtp.simulator import SmtpSimulator
from tests.factories import MovableClock, make_config, make_template, work_off
from tests.flows.conftest import School

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
OFFICE = "office@school.example"
PATHS = {"sendgrid": "events", "mailgun": "events", "smtp": "bounce"}
ALL = sorted(PATHS)
REPORTING = ["mailgun", "sendgrid"]
FAST = {"sendgrid": {"event_delay": 0.05}, "mailgun": {"event_delay": 0.05}, "smtp": {"bounce_delay": 0.05}}


@dataclass
class Post:
    """A school whose only e-mail account is this one. `raw`: what the provider was given, byte for byte."""

    school: School
    slug: str
    config: Config
    raw: list[bytes] = field(default_factory=list)

    def send(self, *to: str, **more: Any) -> str:
        body = {
            "provider": self.slug,
            "from": OFFICE,
            "to": list(to),
            "subject": "School fees",
            "text": "Fees are due.",
            **more,
        }
        answer = self.school.api.post("/api/v1/integrations/email/send", body, format="json")
        assert (answer.status_code, answer.json().get("provider")) == (202, self.slug), answer.json()
        return str(answer.json()["id"])

    def shown(self, message_id: str) -> dict[str, dict[str, Any]]:
        found = self.school.api.get(f"/api/v1/integrations/email/{message_id}").json()["recipients"]
        return {each["to"]: each for each in found}

    def states(self, message_id: str) -> dict[str, str]:
        return {address: each["status"] for address, each in self.shown(message_id).items()}

    def arrived(self, address: str = "") -> list[dict[str, Any]]:
        rows = self.school.control("GET", f"{self.slug}/messages")["messages"]
        return [each for each in rows if address in ("", each["to"])]

    def headers(self, address: str) -> dict[str, str]:
        """Return the headers of the one e-mail that came to this address, as far as they are no provider's."""
        if self.slug != "smtp":
            (row,) = self.arrived(address)
            return dict(row["headers"])
        letters = [message_from_bytes(each, policy=policy.default) for each in self.raw]
        (letter,) = [each for each in letters if address in str(each["To"])]
        return {name: str(value) for name, value in letter.items()}

    def item(self, message_id: str) -> QueueItem:
        found: QueueItem = QueueItem.unscoped.get(kind="email.send", reference_id=message_id)
        return found


@pytest.fixture
def post(school: School, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Post]:
    """`post(slug)`: the school with an account at this provider, whose reports reach the hub."""

    def open_account(slug: str, values: dict[str, Any] | None = None) -> Post:
        config = make_config(school.tenant, slug, values, account="school")
        made = Post(school, slug, config)
        url = f"{live_server.url}/hooks/{config.hook_token}/{PATHS[slug]}"
        school.control("PUT", f"{slug}/accounts/school", json={"webhook_url": url})
        school.control("PUT", f"{slug}/settings", json=FAST[slug])
        deliver, read_form = SmtpSimulator.deliver, mailgun.read_form

        def delivered(self: SmtpSimulator, account: str, sender: str, recipients: Any, content: bytes) -> Any:
            made.raw.append(content)
            return deliver(self, account, sender, recipients, content)

        def read(request: Any) -> Any:
            made.raw.append(request.body)
            return read_form(request)

        monkeypatch.setattr(SmtpSimulator, "deliver", delivered)
        monkeypatch.setattr(mailgun, "read_form", read)
        return made

    return open_account


@pytest.mark.parametrize("slug", REPORTING)
def test_a_letter_to_several_is_delivered_and_reported_for_each(post: Callable[..., Post], until: Until, slug: str) -> None:
    here = post(slug)
    message_id = here.send("Jane <jane@x.example>", "joe@x.example", cc=["ann@x.example"], bcc=["archive@x.example"])
    until(lambda: set(here.states(message_id).values()) == {"delivered"})
    assert [len(here.arrived(each)) for each in here.states(message_id)] == [1, 1, 1, 1]
    row = here.arrived("jane@x.example")[0]
    assert (row["subject"], row["text"].strip()) == ("School fees", "Fees are due.")
    sends = [each for each in here.school.control("GET", f"{slug}/requests") if each["operation"] == "send"]
    assert len(sends) == 1


def test_a_letter_by_mail_server_hides_whom_it_should(post: Callable[..., Post]) -> None:
    here = post("smtp")
    message_id = here.send("Jane <jane@x.example>", cc=["ann@x.example"], bcc=["archive@x.example"])
    work_off()
    assert set(here.states(message_id).values()) == {"sent"}
    assert [len(here.arrived(each)) for each in here.states(message_id)] == [1, 1, 1]
    for raw in here.raw:
        letter = message_from_bytes(raw, policy=policy.default)
        assert (str(letter["To"]), str(letter["Cc"])) == ("Jane <jane@x.example>", "ann@x.example")
        assert b"archive@" not in raw
        assert letter["Message-ID"] == f"<{message_id}.0@school.example>"


def test_html_alone_comes_with_a_text(post: Callable[..., Post]) -> None:
    for here in map(post, ALL):
        here.send("jane@x.example", text="", html="<h1>Fees</h1><p>are <b>due</b></p>")
        work_off()
        (row,) = here.arrived("jane@x.example")
        assert " ".join(row["text"].split()) == "Fees are due"
        assert row["html"].strip() == "<h1>Fees</h1><p>are <b>due</b></p>"


@pytest.mark.parametrize(("slug", "size"), [("mailgun", 300_000), ("sendgrid", 300_000), ("smtp", 3_000_000)])
def test_a_file_arrives_byte_for_byte(post: Callable[..., Post], slug: str, size: int) -> None:
    here = post(slug)
    content = (bytes(range(256)) + b"\r\n.\r\n--\n")[::-1] * (size // 264)
    file = {"filename": "fees \u00e9.pdf", "content_type": "application/pdf", "content": base64.b64encode(content).decode()}
    here.send("jane@x.example", attachments=[file])
    work_off()
    assert len(here.arrived("jane@x.example")) == 1
    if slug == "mailgun":
        assert content in here.raw[-1]
    elif slug == "smtp":
        letter = message_from_bytes(here.raw[-1], policy=policy.default)
        (part,) = letter.iter_attachments()
        assert (part.get_filename(), part.get_content_type()) == ("fees \u00e9.pdf", "application/pdf")
        assert part.get_content() == content
    else:
        (request,) = [each for each in here.school.control("GET", "sendgrid/requests") if each["operation"] == "send"]
        (given,) = request["body"]["attachments"]
        assert (base64.b64decode(given["content"]), given["filename"]) == (content, "fees \u00e9.pdf")


@pytest.mark.parametrize("slug", ALL)
def test_everybody_gets_the_letter_that_is_his(post: Callable[..., Post], slug: str) -> None:
    here = post(slug)
    make_template(here.school.tenant, channel="email", name="due", subject="For {{ name }}", body="{{ amount }} is due.")
    people = [
        {"to": f"P{number} <p{number}@x.example>", "data": {"amount": f"KES {number}00"}, "headers": {"X-No": str(number)}}
        for number in range(4)
    ]
    answer = here.school.api.post(
        "/api/v1/integrations/email/send", {"from": OFFICE, "template": "due", "personalizations": people}, format="json"
    )
    assert answer.status_code == 202, answer.json()
    work_off()
    said = {row["to"]: (row["subject"], row["text"].strip()) for row in here.arrived()}
    assert said == {f"p{number}@x.example": (f"For P{number}", f"KES {number}00 is due.") for number in range(4)}
    assert [here.headers(f"p{number}@x.example")["X-No"] for number in range(4)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("slug", "template_id"), [("sendgrid", "d-fees"), ("mailgun", "receipt")])
def test_a_providers_own_template_gets_each_ones_values(post: Callable[..., Post], slug: str, template_id: str) -> None:
    here = post(slug)
    people = [{"to": "jane@x.example", "data": {"name": "Jane"}}, {"to": "joe@x.example", "data": {"name": "Joe"}}]
    body = {"from": OFFICE, "template_id": template_id, "template_data": {"amount": "100"}, "personalizations": people}
    if slug == "mailgun":
        body["subject"] = "Receipt"
    answer = here.school.api.post("/api/v1/integrations/email/send", body, format="json")
    assert answer.status_code == 202, answer.json()
    work_off()
    for address, name in (("jane@x.example", "Jane"), ("joe@x.example", "Joe")):
        (row,) = here.arrived(address)
        if slug == "sendgrid":
            assert (row["template_id"], row["data"]) == ("d-fees", {"amount": "100", "name": name})
        else:
            assert row["text"] == f"Dear {name}, we received 100."


@pytest.mark.parametrize("slug", ALL)
def test_unsubscribe_headers_by_category(post: Callable[..., Post], settings: Any, slug: str) -> None:
    here = post(slug)
    for category in ("news", "receipt"):
        here.send(f"{category}@x.example", category=category)
    work_off()
    news, receipt = here.headers("news@x.example"), here.headers("receipt@x.example")
    assert news["List-Unsubscribe"].startswith(f"<{settings.PUBLIC_BASE_URL}/u/")
    assert news["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert not [name for name in receipt if name.lower().startswith("list-")]


@pytest.mark.parametrize("slug", ALL)
def test_a_hard_bounce_is_told_and_not_written_to_again(post: Callable[..., Post], until: Until, slug: str) -> None:
    here = post(slug)
    message_id = here.send("bounce@x.example", "jane@x.example")
    until(lambda: here.states(message_id)["bounce@x.example"] == "bounced")
    until(lambda: here.states(message_id)["jane@x.example"] == ("sent" if slug == "smtp" else "delivered"))
    (row,) = Suppression.unscoped.filter(tenant=here.school.tenant)
    assert (row.channel, row.address, row.reason) == ("email", "bounce@x.example", "hard_bounce")
    again = here.shown(here.send("Bounce@x.example"))["Bounce@x.example"]
    assert (again["status"], again["provider_status"]) == ("failed", "suppressed")
    assert len(here.arrived("bounce@x.example")) == 1


def test_a_domain_with_letters_of_its_own_alphabet(post: Callable[..., Post], until: Until) -> None:
    here = post("sendgrid")
    message_id = here.send("jane@m\u00fcnchen.example")
    until(lambda: here.states(message_id) == {"jane@xn--mnchen-3ya.example": "delivered"})


# --- answers that get lost


@pytest.mark.parametrize("slug", REPORTING)
def test_a_lost_answer_is_told_by_the_reports(post: Callable[..., Post], until: Until, slug: str) -> None:
    here = post(slug)
    here.school.fault(slug, "send", "drop_after_accept")
    message_id = here.send("jane@x.example", "joe@x.example")
    until(lambda: set(here.states(message_id).values()) == {"delivered"})
    assert [len(here.arrived(each)) for each in ("jane@x.example", "joe@x.example")] == [1, 1]
    until(lambda: here.item(message_id).state == "completed")


@pytest.mark.parametrize(("fault", "status", "copies"), [("drop_after_accept", "delivered", 1), ("error_500", "failed", 0)])
def test_what_nobody_reports_is_asked_for(
    post: Callable[..., Post], clock: MovableClock, fault: str, status: str, copies: int
) -> None:
    here = post("mailgun")
    clock.moment = datetime.now(UTC)  # the provider is searched by time, and its own clock is the wall's
    here.school.control("PUT", "mailgun/settings", json={"event_delay": 0})  # asked at once, it must know already
    here.school.fault("mailgun", "send", fault)
    message_id = here.send("silent@x.example")
    work_off()
    assert here.states(message_id) == {"silent@x.example": "unknown"}
    for wait in WAITS[:3]:
        clock.advance(wait + 1)
        work_off()
    assert here.states(message_id) == {"silent@x.example": status}
    assert (here.item(message_id).state, len(here.arrived("silent@x.example"))) == ("completed", copies)


def test_what_cannot_be_asked_for_waits_for_a_person(post: Callable[..., Post], clock: MovableClock) -> None:
    here = post("sendgrid")
    here.school.fault("sendgrid", "send", "drop_after_accept")
    message_id = here.send("silent@x.example")
    for _ in range(30):
        work_off()
        clock.advance(3600)
    assert here.states(message_id) == {"silent@x.example": "unknown"}
    assert here.item(message_id).state == "needs_review"
    assert Alert.objects.filter(tenant=here.school.tenant, kind="needs_review", resolved_at=None).count() == 1
    assert len(here.arrived("silent@x.example")) == 1


# --- a mail server's own ways


def test_a_refused_recipient_fails_alone(post: Callable[..., Post]) -> None:
    here = post("smtp")
    message_id = here.send("jane@x.example", "bad@x.example", cc=["full@x.example"])
    work_off()
    found = here.shown(message_id)
    assert {address: (each["status"], each["provider_status"]) for address, each in found.items()} == {
        "jane@x.example": ("sent", "2.0.0"),
        "bad@x.example": ("failed", "5.1.1"),
        "full@x.example": ("failed", "5.2.2"),
    }
    assert "user unknown" in found["bad@x.example"]["error"]
    assert list(Suppression.unscoped.values_list("address", flat=True)) == ["bad@x.example"]
    assert len(here.arrived()) == 1


@pytest.mark.parametrize("bounces", [True, False], ids=["own return addresses", "one transaction"])
def test_greylisted_ones_are_tried_again_and_the_others_left_alone(
    post: Callable[..., Post], clock: MovableClock, bounces: bool
) -> None:
    here = post("smtp", {} if bounces else {"bounce_domain": "", "bounce_secret": ""})
    message_id = here.send("jane@x.example", cc=["grey@x.example"])
    work_off()
    assert here.states(message_id) == {"jane@x.example": "sent", "grey@x.example": "queued"}
    clock.advance(RETRY_WAITS[0] + 1)
    work_off()
    assert here.states(message_id) == {"jane@x.example": "sent", "grey@x.example": "sent"}
    assert [len(here.arrived(each)) for each in ("jane@x.example", "grey@x.example")] == [1, 1]
    ids = {each["message_id"] for each in here.arrived()}
    assert ids == {f"<{message_id}.0@school.example>"}


def test_a_connection_that_ends_after_the_text_is_unknown_and_never_sent_again(
    post: Callable[..., Post], clock: MovableClock
) -> None:
    here = post("smtp")
    message_id = here.send("drop@x.example")
    for _ in range(30):
        work_off()
        clock.advance(3600)
    assert here.states(message_id) == {"drop@x.example": "unknown"}
    assert (here.item(message_id).state, len(here.arrived("drop@x.example"))) == ("needs_review", 1)
    assert Recipient.unscoped.get(message_id=message_id).tries == 0


def test_letters_after_a_broken_one_are_sent_later(post: Callable[..., Post], clock: MovableClock) -> None:
    here = post("smtp")
    people = [{"to": "jane@x.example"}, {"to": "drop@x.example"}, {"to": "joe@x.example"}]
    message_id = here.send(personalizations=people)
    work_off()
    assert here.states(message_id) == {"jane@x.example": "sent", "drop@x.example": "unknown", "joe@x.example": "queued"}
    clock.advance(RETRY_WAITS[0] + 1)
    work_off()
    assert here.states(message_id) == {"jane@x.example": "sent", "drop@x.example": "unknown", "joe@x.example": "sent"}
    assert [len(here.arrived(f"{each}@x.example")) for each in ("jane", "drop", "joe")] == [1, 1, 1]
