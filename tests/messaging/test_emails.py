"""What `send_email` accepts, what it refuses and by which name, and what the provider would be given."""

from __future__ import annotations

from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts.email import EmailMessage, Mailbox
from integrations.contracts.errors import InvalidRequest, NotConfigured, UnsupportedOperation
from integrations.contracts.messaging import Media
from integrations.messaging.calls import build_call
from integrations.messaging.email.emails import MAX_LETTERS, Personalization, send_email
from integrations.messaging.email.mailboxes import normalise_address, parse_mailbox
from integrations.messaging.models import Attachment, Message, MessageTemplate, Recipient
from integrations.messaging.safety.screening import suppress
from integrations.models import QueueItem, Tenant
from tests.factories import make_config, make_template

pytestmark = pytest.mark.django_db
WORDS = {"subject": "School fees", "text": "Fees are due."}
OFFICE = "office@school.example"


@pytest.fixture(autouse=True)
def account(tenant: Tenant) -> Any:
    """A mail server, whose account has a sender address of its own; the tenant's scope is active."""
    make_config(tenant, "smtp")
    with scope(tenant=tenant):
        yield


def send(tenant: Tenant, *to: str, **more: Any) -> Message:
    return send_email(tenant=tenant, **{"to": to, **(more if "personalizations" in more else {}), **WORDS, **more})


def call(message: Message, *recipients: Recipient) -> EmailMessage:
    """Return what the adapter would get for these recipients, or for all."""
    chosen = recipients or tuple(Recipient.objects.filter(message=message, state="queued").order_by("id"))
    (made,) = build_call(message, chosen)
    assert isinstance(made, EmailMessage)
    return made


def batches(message: Message) -> list[int]:
    items = QueueItem.objects.filter(reference_id=message.pk).order_by("id")
    return [len(item.payload["recipients"]) for item in items]


# --- one letter


def test_one_letter_to_all(tenant: Tenant) -> None:
    message = send(
        tenant,
        "Jane <jane@x.ke>",
        "joe@x.ke",
        cc=["Ann@X.KE"],
        bcc=["archive@x.ke"],
        sender="Bursar <bursar@school.example>",
        reply_to=["fees@school.example"],
        headers={"x-term": "1"},
        reference=("invoice", "7"),
    )
    rows = Recipient.objects.filter(message=message).order_by("id").values_list("address", "name", "role", "envelope")
    assert list(rows) == [
        ("jane@x.ke", "Jane", "to", 0),
        ("joe@x.ke", "", "to", 0),
        ("Ann@x.ke", "", "cc", 0),
        ("archive@x.ke", "", "bcc", 0),
    ]
    assert batches(message) == [4]
    made = call(message)
    assert (made.sender, made.reply_to) == (Mailbox("bursar@school.example", "Bursar"), (Mailbox("fees@school.example"),))
    assert (made.subject, made.text, made.html, made.headers) == ("School fees", "Fees are due.", "", {"X-Term": "1"})
    (letter,) = made.envelopes
    assert [[each.address for each in group] for group in (letter.to, letter.cc, letter.bcc)] == [
        ["jane@x.ke", "joe@x.ke"],
        ["Ann@x.ke"],
        ["archive@x.ke"],
    ]
    assert letter.message_id == f"{message.pk}.0@school.example"


def test_the_accounts_own_sender_is_used(tenant: Tenant) -> None:
    assert call(send(tenant, "jane@x.ke", from_name="The Bursar")).sender == Mailbox(OFFICE, "The Bursar")


def test_without_any_sender_it_is_asked_for(tenant: Tenant) -> None:
    make_config(tenant, "sendgrid")
    with pytest.raises(InvalidRequest) as refused:
        send(tenant, "jane@x.ke", provider="sendgrid")
    assert (refused.value.attr, Message.objects.count()) == ("from", 0)
    assert send(tenant, "jane@x.ke", provider="sendgrid", sender=OFFICE).provider == "sendgrid"


def test_text_is_made_from_html(tenant: Tenant) -> None:
    message = send(tenant, "jane@x.ke", text="", html="<p>Fees are <a href='https://x.ke'>due</a>.</p>")
    assert message.body == "Fees are due (https://x.ke)."
    assert send(tenant, "joe@x.ke", text="", html="<img src='cid:poster'>").body == "School fees"


def test_html_of_callers_goes_out_as_it_is(tenant: Tenant) -> None:
    html = "<p onclick='x'>Fees</p><style>p{}</style>"
    assert call(send(tenant, "jane@x.ke", html=html)).html == html


def test_braces_in_a_text_without_values_are_braces(tenant: Tenant) -> None:
    message = send(tenant, "jane@x.ke", text="Write {{ name }} in the field.")
    assert (message.personal, call(message).text) == (False, "Write {{ name }} in the field.")


def test_a_key_makes_one_message(tenant: Tenant) -> None:
    assert send(tenant, "jane@x.ke", key="k").pk == send(tenant, "joe@x.ke", key="k").pk
    assert Message.objects.count() == 1


def test_without_an_account(tenant: Tenant, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant), pytest.raises(NotConfigured):
        send(other_tenant, "jane@x.ke")


# --- templates


def template(tenant: Tenant, **fields: Any) -> MessageTemplate:
    given = {"subject": "Fees of {{ name }}", "body": "Dear {{ name }}: {{ amount }}.", "html": "<p>{{ amount }}</p>", **fields}
    return make_template(tenant, channel="email", name="fees", **given)


def test_a_template_of_one_letter_is_filled_in_at_once(tenant: Tenant) -> None:
    template(tenant)
    message = send_email(tenant=tenant, to=["Jane <jane@x.ke>"], template="fees", data={"amount": "<100>"})
    assert (message.subject, message.body, message.html) == ("Fees of Jane", "Dear Jane: <100>.", "<p>&lt;100&gt;</p>")
    assert (message.template_name, message.personal, message.data) == ("fees", False, {})


def test_a_template_with_its_recipients_own_link(tenant: Tenant, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://hub.school.example"
    template(tenant, body="{{ amount }}, {{ unsubscribe_url }}")
    message = send_email(tenant=tenant, to=["Jane <jane@x.ke>"], template="fees", data={"amount": 1})
    assert call(message).envelopes[0].text.startswith("1, https://hub.school.example/u/")
    with pytest.raises(InvalidRequest, match="unsubscribe_url") as refused:
        send_email(tenant=tenant, to=["Jane <jane@x.ke>"], cc=["joe@x.ke"], template="fees", data={"amount": 1})
    assert refused.value.attr == "data"


def test_a_hole_is_refused(tenant: Tenant) -> None:
    template(tenant)
    with pytest.raises(InvalidRequest, match=r"jane@x\.ke: name, amount") as refused:
        send_email(tenant=tenant, to=["jane@x.ke"], template="fees")
    assert (refused.value.attr, Message.objects.count()) == ("data", 0)


def test_values_fill_in_words_of_ones_own(tenant: Tenant) -> None:
    message = send(tenant, "jane@x.ke", subject="No. {{ n }}", text="", html="<p>{{ n }} is due</p>", data={"n": "1<2"})
    assert (message.subject, message.body, message.html) == ("No. 1<2", "1<2 is due", "<p>1&lt;2 is due</p>")


def test_providers_templates(tenant: Tenant) -> None:
    with pytest.raises(UnsupportedOperation):
        send(tenant, "jane@x.ke", text="", provider_template_id="d-1")
    make_config(tenant, "sendgrid")
    message = send_email(
        tenant=tenant,
        provider="sendgrid",
        sender=OFFICE,
        provider_template_id="d-1",
        data={"school": "S"},
        personalizations=[
            Personalization(to=["jane@x.ke"], cc=["joe@x.ke"], data={"amount": 1}),
            Personalization(to=["a@x.ke"]),
        ],
    )
    made = call(message)
    assert (made.template_id, made.data, made.text, made.subject) == ("d-1", {"school": "S"}, "", "")
    assert [dict(each.data) for each in made.envelopes] == [{"amount": 1}, {}]


# --- many letters


def test_personalizations_are_letters_of_their_own(tenant: Tenant) -> None:
    template(tenant)
    message = send_email(
        tenant=tenant,
        template="fees",
        data={"amount": "100"},
        headers={"X-Term": "1"},
        personalizations=[
            Personalization(to=["Jane <jane@x.ke>"], cc=["Joe <joe@x.ke>"], bcc=["b@x.ke"]),
            Personalization(
                to=["ann@x.ke"], subject="For {{ name }}", data={"name": "Ann", "amount": 7}, headers={"X-No": "2"}
            ),
        ],
    )
    assert (message.personal, message.body, batches(message)) == (True, "Dear {{ name }}: {{ amount }}.", [4])
    first, second = call(message).envelopes
    assert (first.subject, first.text, first.html) == ("Fees of Jane", "Dear Jane: 100.", "<p>100</p>")
    assert (second.subject, second.text, second.html) == ("For Ann", "Dear Ann: 7.", "<p>7</p>")
    assert (first.headers, second.headers) == ({}, {"X-No": "2"})
    assert (first.message_id, second.message_id) == (f"{message.pk}.0@school.example", f"{message.pk}.1@school.example")
    assert [each.address for each in first.recipients] == ["jane@x.ke", "joe@x.ke", "b@x.ke"]


def test_of_a_thousand_letters_only_values_are_kept(tenant: Tenant) -> None:
    many = [Personalization(to=[f"p{number}@x.ke"], data={"name": f"P{number}"}) for number in range(MAX_LETTERS)]
    message = send(tenant, personalizations=many, text="Dear {{ name }}, " + "fees are due. " * 50)
    assert (message.content, message.data) == ({}, {})
    assert batches(message) == [20] * 50
    items = QueueItem.objects.filter(reference_id=message.pk).order_by("-id")
    last = Recipient.objects.filter(pk__in=items[0].payload["recipients"]).order_by("id")
    assert call(message, *last).envelopes[-1].text.startswith("Dear P999, fees are due.")


def test_the_name_stays_the_one_that_the_letter_was_written_to(tenant: Tenant) -> None:
    suppress(tenant_id=tenant.pk, channel="email", address="jane@x.ke", reason="hard_bounce")
    message = send(
        tenant,
        personalizations=[Personalization(to=["Jane <jane@x.ke>"], cc=["Joe <joe@x.ke>"], data={"n": 1})],
        text="Dear {{ name }} {{ n }}",
    )
    (letter,) = call(message).envelopes
    assert (letter.text, [each.address for each in letter.to], letter.cc) == ("Dear Jane 1", ["joe@x.ke"], ())


def test_hidden_recipients_stay_hidden_when_nobody_else_is_left(tenant: Tenant) -> None:
    suppress(tenant_id=tenant.pk, channel="email", address="jane@x.ke", reason="hard_bounce")
    message = send(tenant, "jane@x.ke", bcc=["a@x.ke", "b@x.ke"])
    copies = call(message).envelopes
    assert [[each.address for each in copy.recipients] for copy in copies] == [["a@x.ke"], ["b@x.ke"]]
    assert [copy.bcc for copy in copies] == [(), ()]
    assert len({copy.message_id for copy in copies}) == 2


def test_recipients_without_a_role_never_share_a_letter(tenant: Tenant) -> None:
    message = send(tenant, "jane@x.ke", "joe@x.ke")
    Recipient.objects.filter(message=message).update(role="")
    copies = call(message).envelopes
    assert [[each.address for each in copy.recipients] for copy in copies] == [["jane@x.ke"], ["joe@x.ke"]]
    assert len({copy.message_id for copy in copies}) == 2


def test_letters_are_never_divided_between_calls(tenant: Tenant) -> None:
    many = [Personalization(to=[f"a{n}@x.ke"], cc=[f"b{n}@x.ke", f"c{n}@x.ke"]) for n in range(18)]
    message = send(tenant, personalizations=many)
    # 50 recipients in one call at most, and each letter has three.
    assert batches(message) == [48, 6]


# --- unsubscribing


@pytest.mark.parametrize(
    ("category", "there"), [("news", True), ("bulk", True), ("receipt", False), ("otp", False), ("", False)]
)
def test_unsubscribe_headers_by_category(tenant: Tenant, category: str, there: bool) -> None:
    (letter,) = call(send(tenant, "jane@x.ke", category=category)).envelopes
    assert ({"List-Unsubscribe", "List-Unsubscribe-Post"} <= letter.headers.keys()) is there


def test_a_letter_to_several_has_nobodys_unsubscribe_link(tenant: Tenant) -> None:
    (letter,) = call(send(tenant, "jane@x.ke", "joe@x.ke", category="news")).envelopes
    assert letter.headers == {}


# --- what is refused


ONE = Personalization(to=["jane@x.ke"], data={"n": 1})


@pytest.mark.parametrize(
    ("given", "attr"),
    [
        ({"to": []}, "to"),
        ({"to": [], "cc": ["jane@x.ke"]}, "to"),
        ({"to": ["jane"]}, "to"),
        ({"to": ["jane@x.ke, joe@x.ke"]}, "to"),
        ({"to": ["jane@localhost"]}, "to"),
        ({"to": ["jane@[10.0.0.1]"]}, "to"),
        ({"to": ["Jane\r\nBcc: eve@x.ke <jane@x.ke>"]}, "to"),
        ({"to": [Mailbox("jane@x.ke", "J\nane")]}, "to"),
        ({"to": [Mailbox("jane@x.ke\r\nBcc: eve@x.ke")]}, "to"),
        ({"to": ["J" * 201 + " <jane@x.ke>"]}, "to"),
        ({"to": ["jane@x.ke", "JANE@x.ke"]}, "to"),
        ({"to": ["jane@x.ke"], "bcc": ["Jane <jane@X.ke>"]}, "bcc"),
        ({"cc": ["nobody"]}, "cc"),
        ({"to": [f"p{n}@x.ke" for n in range(51)]}, "to"),
        ({"sender": "office"}, "from"),
        ({"sender": "Off\nice <office@x.ke>"}, "from"),
        ({"from_name": "Of\r\nfice"}, "from"),
        ({"reply_to": ["nobody"]}, "reply_to"),
        ({"reply_to": [f"p{n}@x.ke" for n in range(11)]}, "reply_to"),
        ({"subject": ""}, "subject"),
        ({"subject": "Fees\r\nBcc: eve@x.ke"}, "subject"),
        ({"subject": "Fees\u2028x"}, "subject"),
        ({"subject": "x" * 501}, "subject"),
        ({"subject": "{{ n }}", "data": {"n": "a\r\nBcc: eve@x.ke"}}, "data"),
        ({"text": "", "html": " "}, "text"),
        ({"text": "x\0"}, "text"),
        ({"html": "\ud800"}, "html"),
        ({"text": "x" * 500_001}, "text"),
        ({"text": "{{ n", "data": {"n": 1}}, "text"),
        ({"html": "{% if %}", "data": {"n": 1}}, "html"),
        ({"data": {"n": "\0"}}, "data"),
        ({"data": {"\ud800": 1}}, "data"),
        ({"data": {"n": float("inf")}}, "data"),
        ({"data": {"n": "x" * 33_000}}, "data"),
        ({"data": {"n": object()}}, "data"),
        ({"data": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}}}, "data"),
        ({"template": "fees"}, "template"),
        ({"text": "", "template": "none"}, "template"),
        ({"text": "", "template": "fees", "provider_template_id": "d-1"}, "template_id"),
        ({"headers": {"Bcc": "eve@x.ke"}}, "headers"),
        ({"headers": {"X-A\r\nBcc": "eve@x.ke"}}, "headers"),
        ({"headers": {"X-A": "a\r\nBcc: eve@x.ke"}}, "headers"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "headers"),
        ({"headers": {"X-A": " "}}, "headers"),
        ({"headers": {f"X-{n}": "a" for n in range(31)}}, "headers"),
        ({"headers": {"X-A": "a" * 7000}}, "headers"),
        ({"attachments": [Media("a/b.pdf", "application/pdf", b"x")]}, "attachments.0.filename"),
        ({"attachments": [Media("a\\b.pdf", "application/pdf", b"x")]}, "attachments.0.filename"),
        ({"attachments": [Media("..", "application/pdf", b"x")]}, "attachments.0.filename"),
        ({"attachments": [Media("a\n.pdf", "application/pdf", b"x")]}, "attachments.0.filename"),
        ({"attachments": [Media(" ", "application/pdf", b"x")]}, "attachments.0.filename"),
        ({"attachments": [Media("a.pdf", "application/pdf", b"x"), Media("b", "pdf", b"x")]}, "attachments.1.content_type"),
        ({"attachments": [Media("a.pdf", "a/b\r\nBcc: x", b"x")]}, "attachments.0.content_type"),
        ({"attachments": [Media("a.pdf", "application/pdf", b"")]}, "attachments.0.content"),
        ({"attachments": [Media("a", "a/b", b"x", content_id="<a>")]}, "attachments.0.content_id"),
        ({"attachments": [Media("a", "a/b", b"x", content_id="c")] * 2}, "attachments"),
        ({"attachments": [Media("a", "a/b", b"x")] * 21}, "attachments"),
        ({"attachments": [Media("a", "a/b", b"x" * 6_000_000)] * 2}, "attachments"),
        ({"category": "c" * 31}, "category"),
        ({"personalizations": [ONE]}, "personalizations"),
        ({"to": [], "personalizations": [ONE] * (MAX_LETTERS + 1)}, "personalizations"),
        ({"to": [], "personalizations": [ONE, ONE]}, "personalizations.1.to"),
        ({"to": [], "personalizations": [ONE, Personalization(to=[])]}, "personalizations.1.to"),
        ({"to": [], "personalizations": [Personalization(to=["a@x.ke"], cc=["x"])]}, "personalizations.0.cc"),
        ({"to": [], "personalizations": [Personalization(to=["a@x.ke"], subject="a\nb")]}, "personalizations.0.subject"),
        ({"to": [], "personalizations": [Personalization(to=["a@x.ke"], headers={"To": "x"})]}, "personalizations.0.headers"),
        ({"to": [], "personalizations": [ONE, Personalization(to=["a@x.ke"], subject="{{")]}, "personalizations.1.subject"),
        ({"to": [], "text": "{{ n }}", "personalizations": [ONE, Personalization(to=["a@x.ke"])]}, "personalizations.1.data"),
        ({"to": [], "personalizations": [Personalization(to=["a@x.ke"], data={"n": "\0"})]}, "personalizations.0.data"),
    ],
)
def test_what_is_refused_names_its_field_and_writes_nothing(tenant: Tenant, given: dict[str, Any], attr: str) -> None:
    template(tenant)
    with pytest.raises(InvalidRequest) as refused:
        send_email(tenant=tenant, **{"to": ["jane@x.ke"], **WORDS, **given})
    assert refused.value.attr == attr
    assert (Message.objects.count(), Recipient.objects.count(), QueueItem.objects.count()) == (0, 0, 0)


def test_a_files_type_is_known_by_its_name(tenant: Tenant) -> None:
    message = send(
        tenant,
        "jane@x.ke",
        attachments=[
            Media("fees.pdf", "", b"1"),
            Media("x.unheard-of", "", b"2"),
            Media("i.ics", "text/calendar; method=REQUEST", b"3"),
        ],
    )
    kinds = Attachment.objects.filter(message=message).order_by("id").values_list("content_type", flat=True)
    assert list(kinds) == ["application/pdf", "application/octet-stream", "text/calendar; method=REQUEST"]


@pytest.mark.parametrize(
    ("given", "mailbox"),
    [
        ("jane@x.ke", Mailbox("jane@x.ke")),
        (" Jane  <Jane.W+x@X.KE> ", Mailbox("Jane.W+x@x.ke", "Jane")),
        ('"Wanjiku, \\"Jane\\"" <jane@x.ke>', Mailbox("jane@x.ke", 'Wanjiku, "Jane"')),
        ("Wanjiku, Jane <jane@x.ke>", Mailbox("jane@x.ke", "Wanjiku, Jane")),
        ("jane@m\u00fcnchen.de", Mailbox("jane@xn--mnchen-3ya.de")),
        ("jane@M\u00dcNCHEN.de", Mailbox("jane@xn--mnchen-3ya.de")),
        ("O'Neil \U0001f600 <o'neil@b.co.ke>", Mailbox("o'neil@b.co.ke", "O'Neil \U0001f600")),
    ],
)
def test_addresses_as_people_write_them(given: str, mailbox: Mailbox) -> None:
    assert parse_mailbox(given, attr="to") == mailbox
    assert normalise_address(mailbox.address) == mailbox.address
