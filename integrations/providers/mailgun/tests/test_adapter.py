from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.email import Mailbox
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
)
from integrations.contracts.messaging import Media, MessageState, RecipientResult, SendResult, Target
from integrations.contracts.schema import SchemaErrors
from integrations.providers.mailgun.adapter import MailgunEmail
from integrations.providers.mailgun.provider import PROVIDER
from integrations.providers.mailgun.reading import tag_of
from integrations.providers.mailgun.tests.support import (
    ANN,
    API_KEY,
    DOMAIN,
    JANE,
    TOM,
    Scripted,
    adapter,
    as_described,
    email,
    envelope,
    fixture,
    view,
)

QUEUED = fixture("send__queued.json")
CALL_ID = "20261121081500.1.9F2C@mg.tenant.example"


@pytest.fixture
def http() -> Scripted:
    return Scripted()


def test_a_send_is_the_documented_form(http: Scripted) -> None:
    http.answer(QUEUED)
    result = adapter(http).send(
        email(
            envelope(to=(Target(JANE, "mr_1", "Jane, Doe"),)),
            html="<p>Thank you.</p>",
            reply_to=(Mailbox("shop@tenant.example", "Shöp"), Mailbox("b@tenant.example")),
            headers={"Auto-Submitted": "auto-generated"},
            category="receipt",
        )
    )
    (call,) = http.calls
    assert (call["method"], call["url"]) == ("POST", f"https://api.mailgun.net/v3/{DOMAIN}/messages")
    assert (call["operation"], call["safe"], call["auth"]) == ("send", False, ("api", API_KEY))
    assert http.form() == [
        ("from", "Shop <no-reply@mg.tenant.example>"),
        ("to", f'"Jane, Doe" <{JANE}>'),
        ("subject", "Receipt 1042"),
        ("text", "Thank you."),
        ("html", "<p>Thank you.</p>"),
        ("o:tracking", "no"),
        ("o:tracking-opens", "no"),
        ("o:tracking-clicks", "no"),
        ("o:tag", "receipt"),
        ("h:Auto-Submitted", "auto-generated"),
        ("h:Reply-To", "=?utf-8?b?U2jDtnA=?= <shop@tenant.example>, b@tenant.example"),
        ("h:Message-Id", "<mr_1@hub.example>"),
        ("v:hub_ref", "mr_1"),
    ]
    assert result == SendResult((RecipientResult(JANE, MessageState.SENT, provider_ref=CALL_ID),), CALL_ID)
    as_described(http)


@pytest.mark.parametrize(("region", "host"), [("us", "https://api.mailgun.net"), ("eu", "https://api.eu.mailgun.net")])
@pytest.mark.parametrize("environment", [Environment.PRODUCTION, Environment.SANDBOX])
def test_the_region_chooses_the_host(http: Scripted, region: str, host: str, environment: Environment) -> None:
    http.answer(QUEUED)
    adapter(http, view(environment, region=region)).send(email())
    assert http.calls[0]["url"] == f"{host}/v3/{DOMAIN}/messages"


def test_the_simulator_is_called_where_it_is_the_environment(http: Scripted) -> None:
    http.answer(QUEUED)
    adapter(http, view(Environment.SIMULATOR, base_url="http://127.0.0.1:8025/x", region="eu")).send(email())
    assert http.calls[0]["url"] == f"http://127.0.0.1:8025/x/v3/{DOMAIN}/messages"


@pytest.mark.parametrize(
    ("environment", "domain", "expected"),
    [
        (Environment.PRODUCTION, DOMAIN, None),
        (Environment.SANDBOX, DOMAIN, ["yes"]),
        (Environment.SANDBOX, "sandbox0a1b2c.mailgun.org", None),
    ],
)
def test_nothing_goes_out_in_the_sandbox(
    http: Scripted, environment: Environment, domain: str, expected: list[str] | None
) -> None:
    http.answer(QUEUED)
    adapter(http, view(environment, domain=domain)).send(email())
    assert http.fields().get("o:testmode") == expected


def test_tracking_only_where_it_is_wanted(http: Scripted) -> None:
    http.answer(QUEUED)
    adapter(http).send(email(track=True))
    fields = http.fields()
    assert [fields[f"o:tracking{part}"] for part in ("", "-opens", "-clicks")] == [["yes"], ["yes"], ["htmlonly"]]
    as_described(http)


def test_several_recipients_of_one_envelope_see_each_other_and_no_hidden_one(http: Scripted) -> None:
    http.answer(QUEUED)
    one = envelope(
        to=(Target(JANE, "mr_1"), Target(TOM, "mr_2")), cc=(Target(ANN, "mr_3"),), bcc=(Target("b@x.example", "mr_4"),)
    )
    result = adapter(http).send(email(one))
    fields = http.fields()
    assert (fields["to"], fields["cc"], fields["bcc"]) == ([JANE, TOM], [ANN], ["b@x.example"])
    assert fields["v:hub_ref"] == ["mr_1"]
    notes = json.loads(fields["v:hub_refs"][0])
    assert notes == {tag_of(JANE, "mr_1"): "mr_1", tag_of(TOM, "mr_1"): "mr_2", tag_of(ANN, "mr_1"): "mr_3"}
    assert "recipient-variables" not in fields
    assert [(each.address, each.state, each.provider_ref) for each in result.recipients] == [
        (address, MessageState.SENT, CALL_ID) for address in (JANE, TOM, ANN, "b@x.example")
    ]
    as_described(http)


def test_notes_that_would_break_the_limit_are_left_out(http: Scripted) -> None:
    http.answer(QUEUED)
    many = tuple(Target(f"p{number}@example.net", f"{'r' * 60}_{number}") for number in range(300))
    adapter(http).send(email(envelope(to=many)))
    assert http.fields()["v:hub_refs"] == ["{}"]
    assert len(http.fields()["to"]) == 300


def test_a_stored_template(http: Scripted) -> None:
    http.answer(QUEUED)
    one = envelope(data={"name": "Jane", "lines": [1, 2]})
    adapter(http).send(
        email(one, template_id="receipt", data={"name": "you", "shop": "Ä"}, text="", subject="", html="<p>x</p>")
    )
    fields = http.fields()
    assert fields["template"] == ["receipt"]
    assert json.loads(fields["t:variables"][0]) == {"name": "Jane", "lines": [1, 2], "shop": "Ä"}
    assert {"text", "html", "subject"} & set(fields) == set()


def test_templates_with_data_of_their_own_are_calls_of_their_own(http: Scripted) -> None:
    http.answer(QUEUED)
    http.answer(QUEUED)
    adapter(http).send(email(envelope(data={"n": "a"}), envelope(TOM, "mr_2", data={"n": "b"}), template_id="receipt", text=""))
    assert [json.loads(http.fields(number)["t:variables"][0]) for number in range(2)] == [{"n": "a"}, {"n": "b"}]


def test_files(http: Scripted) -> None:
    http.answer(QUEUED)
    files = (
        Media('Ünvoice "1".pdf', "application/pdf", b"%PDF\x00\r\n--"),
        Media("logo.png", "image/png", b"\x89PNG", content_id="logo"),
    )
    adapter(http).send(email(attachments=files))
    found = [(name, kind, content) for name, filename, kind, content in http.parts() if filename is not None]
    assert found == [("attachment", "application/pdf", b"%PDF\x00\r\n--"), ("inline", "image/png", b"\x89PNG")]
    assert 'filename="Ünvoice %221%22.pdf"'.encode() in http.calls[0]["body"]
    assert b'name="inline"; filename="logo"' in http.calls[0]["body"]


@pytest.mark.parametrize(
    "media",
    [Media("a.pdf", "application/pdf", url="https://x.example/a"), Media("", "application/pdf", b"x"), Media("a", "b/c", b"")],
)
def test_a_file_that_would_be_dropped_is_refused(http: Scripted, media: Media) -> None:
    with pytest.raises(InvalidRequest) as caught:
        adapter(http).send(email(envelope(), envelope(TOM, "mr_2", text="x"), attachments=(media,)))
    assert (caught.value.attr, http.calls) == ("attachments", [])


@pytest.mark.parametrize(
    ("message", "attr"),
    [
        (email(sender=Mailbox("jürgen@mg.tenant.example")), "from"),
        (email(*(envelope(f"p{n}@x.example", f"r_{n}") for n in range(51))), "to"),
        (email(envelope(to=())), "to"),
        (email(envelope(to=tuple(Target(f"p{n}@x.example") for n in range(1001)))), "to"),
        (email(attachments=(Media("a", "b/c", b"x" * (18 * 1024 * 1024 + 1)),)), "attachments"),
    ],
)
def test_what_saves_a_pointless_call(http: Scripted, message: Any, attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        adapter(http).send(message)
    assert (caught.value.attr, http.calls) == (attr, [])


@pytest.mark.parametrize(
    ("status", "body", "error_class", "attr", "retry_after"),
    [
        (400, fixture("send__bad_address.json"), InvalidRequest, "to", None),
        (400, b'{"message":"from parameter is missing."}', InvalidRequest, "from", None),
        (400, b'{"message":"template receipt not found"}', InvalidRequest, "template", None),
        (400, b"Send options (parameters starting with o:, h:, or v:) are limited to 16KB", InvalidRequest, "headers", None),
        (400, b'{"message":"Sandbox subdomains are for test purposes only. Please add it"}', InvalidRequest, "to", None),
        (403, b"Please add the address to authorized recipients", InvalidRequest, "to", None),
        (400, b'{"message":"Domain mg.x is not allowed to send: The domain is unverified"}', AuthenticationFailed, None, None),
        (401, b'"Forbidden"', AuthenticationFailed, None, None),
        (401, b"Forbidden", AuthenticationFailed, None, None),
        (402, b"{}", AuthenticationFailed, None, None),
        (403, b"<html>", AuthenticationFailed, None, None),
        (404, b'{"message":"Domain not found"}', AuthenticationFailed, None, None),
        (413, b"", InvalidRequest, "attachments", None),
        (429, fixture("send__rate_limit.json"), RateLimited, None, 120.0),
        (429, b"", RateLimited, None, None),
        (422, b"[]", InvalidRequest, None, None),
        (302, b"", OutcomeUnknown, None, None),
        (500, b'{"message":"Internal Server Error"}', OutcomeUnknown, None, None),
        (503, b"", OutcomeUnknown, None, None),
    ],
)  # fmt: skip
def test_http_errors_of_a_send(
    http: Scripted, status: int, body: bytes, error_class: type[ProviderError], attr: str | None, retry_after: float | None
) -> None:
    http.answer(body, status)
    with pytest.raises(ProviderError) as caught:
        adapter(http).send(email())
    error = caught.value
    assert (type(error), error.provider_code, error.attr, error.retry_after) == (error_class, str(status), attr, retry_after)
    assert len(http.calls) == 1


def test_the_wait_in_the_header_goes_first(http: Scripted) -> None:
    http.answer(fixture("send__rate_limit.json"), 429, {"retry-after": "17"})
    with pytest.raises(RateLimited) as caught:
        adapter(http).send(email())
    assert caught.value.retry_after == 17.0


@pytest.mark.parametrize(
    "body",
    [b"", b"OK", b"[]", b'{"id":"<a@b>"}', b'{"id":"","message":"Queued. Thank you."}', b'{"id":"<a@b>","message":"Hello"}'],
)
def test_a_200_that_does_not_say_queued_is_unknown(http: Scripted, body: bytes) -> None:
    http.answer(body)
    with pytest.raises(BadReply):
        adapter(http).send(email())


def test_the_trap_of_a_path_that_mailgun_does_not_know(http: Scripted) -> None:
    http.answer(b"Mailgun Magnificent API")
    with pytest.raises(AuthenticationFailed) as caught:
        adapter(http).send(email())
    assert caught.value.attr == "domain"


def test_the_key_is_in_no_error(http: Scripted) -> None:
    http.answer({"message": f"bad key {API_KEY}"}, 401)
    with pytest.raises(AuthenticationFailed) as caught:
        adapter(http).send(email())
    assert (
        caught.value.message == "Mailgun refused the API key (bad key ••••). A domain sending key can send, and nothing else."
    )


@pytest.mark.parametrize("domain", ["mg.x/../y", "mg", "mg.x%2f", "", "-a.com", "a..com", "mg.x.example/"])
def test_a_domain_that_would_change_the_path_is_refused(domain: str) -> None:
    with pytest.raises(SchemaErrors) as caught:
        view(domain=domain)
    assert set(caught.value.errors) == {"domain"}


def test_the_declaration() -> None:
    assert PROVIDER.adapter_class(Capability.EMAIL) is MailgunEmail
    assert view(domain="MG.Tenant.Example").domain == DOMAIN
    assert PROVIDER.check_environment is not None
    sandbox = {"domain": "sandbox0a1b2c.mailgun.org"}
    assert set(PROVIDER.check_environment(sandbox, Environment.PRODUCTION)) == {"domain"}
    assert PROVIDER.check_environment(sandbox, Environment.SANDBOX) == {}
    assert PROVIDER.check_environment({"domain": DOMAIN}, Environment.PRODUCTION) == {}
