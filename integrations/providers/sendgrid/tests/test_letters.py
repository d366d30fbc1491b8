"""The body of `/v3/mail/send`, and what is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media, Target
from integrations.providers.sendgrid.notes import ARGS_LIMIT, args_for, ref_for
from integrations.providers.sendgrid.tests.conftest import (
    API_KEY,
    JANE,
    JOHN,
    SHOP,
    ZOE,
    RecordingHttp,
    envelope,
    make_adapter,
    message,
    view,
)

UNTRACKED = {"click_tracking": {"enable": False, "enable_text": False}, "open_tracking": {"enable": False}}
TEMPLATE = "d-0123456789abcdef0123456789abcdef"


def test_a_message_is_the_documented_json(http: RecordingHttp) -> None:
    http.accept()
    make_adapter(http).send(message(envelope(message_id="m7.9c1f@hub.example.org"), html="<p>Thanks</p>", category="receipt"))
    assert http.calls == [
        {
            "method": "POST",
            "url": "/v3/mail/send",
            "operation": "send",
            "safe": False,
            "headers": {"Authorization": f"Bearer {API_KEY}", "Accept": "application/json"},
            "json": {
                "personalizations": [
                    {
                        "to": [{"email": "jane@example.net", "name": "Jane"}],
                        "headers": {"Message-ID": "<m7.9c1f@hub.example.org>"},
                        "custom_args": {"hub_ref": "m7_1"},
                    }
                ],
                "from": {"email": "no-reply@shop.example", "name": "Shop"},
                "subject": "Receipt 1042",
                "content": [{"type": "text/plain", "value": "Thanks"}, {"type": "text/html", "value": "<p>Thanks</p>"}],
                "categories": ["receipt"],
                "tracking_settings": UNTRACKED,
            },
        }
    ]


def test_each_envelope_is_a_personalization(http: RecordingHttp) -> None:
    http.accept()
    own = {"List-Unsubscribe": "<https://hub.example/u/2>"}
    result = make_adapter(http).send(
        message(
            envelope(JANE),
            envelope(JOHN, subject="Receipt 1043", headers=own),
            headers={"Auto-Submitted": "auto-generated", "list-unsubscribe": "<https://hub.example/u>"},
        )
    )
    assert http.sent["personalizations"] == [
        {
            "to": [{"email": "jane@example.net", "name": "Jane"}],
            "headers": {"Auto-Submitted": "auto-generated", "list-unsubscribe": "<https://hub.example/u>"},
            "custom_args": {"hub_ref": "m7_1"},
        },
        {
            "to": [{"email": "john@example.net"}],
            "subject": "Receipt 1043",
            "headers": {"Auto-Submitted": "auto-generated", **own},
            "custom_args": {"hub_ref": "m7_2"},
        },
    ]
    assert "headers" not in http.sent
    assert [each.address for each in result.recipients] == ["jane@example.net", "john@example.net"]


def test_recipients_of_one_envelope_are_told_apart_by_tags_that_name_nobody(http: RecordingHttp) -> None:
    http.accept()
    make_adapter(http).send(message(Envelope(to=(JANE,), cc=(JOHN,), bcc=(ZOE,))))
    (made,) = http.sent["personalizations"]
    assert (made["cc"], made["bcc"]) == ([{"email": "john@example.net"}], [{"email": "zoe@example.net"}])
    args = made["custom_args"]
    assert set(args) == {"hub_refs"}
    assert "@" not in args["hub_refs"]
    assert [ref_for(args, each.address) for each in (JANE, JOHN, ZOE)] == ["m7_1", "m7_2", "m7_3"]
    assert ref_for(args, "JOHN@Example.NET") == "m7_2"
    assert ref_for(args, "other@example.net") == ""


def test_notes_stay_within_sendgrids_limit() -> None:
    people = [Target(f"p{number}@example.net", f"{'r' * 60}_{number}") for number in range(300)]
    args = args_for(people)
    assert 8_900 < len(args["hub_refs"].encode()) <= ARGS_LIMIT
    assert ref_for(args, people[0].address) == people[0].ref
    assert ref_for(args, people[299].address) == ""


@pytest.mark.parametrize("args", [{}, {"hub_ref": 7}, {"hub_ref": "../x"}, {"hub_refs": "m7"}, {"hub_refs": ["m7"]}])
def test_notes_that_are_not_ours_name_nobody(args: dict[str, Any]) -> None:
    assert ref_for(args, JANE.address) == ""


def test_targets_without_a_ref_leave_no_note(http: RecordingHttp) -> None:
    http.accept()
    make_adapter(http).send(message(envelope(Target("a@example.net"))))
    assert http.sent["personalizations"] == [{"to": [{"email": "a@example.net"}]}]


def test_the_same_address_has_another_tag_in_each_message() -> None:
    first = args_for([Target("a@example.net", "one"), JOHN])["hub_refs"].split()[0]
    second = args_for([Target("a@example.net", "two"), JOHN])["hub_refs"].split()[0]
    assert first.partition(".")[2] != second.partition(".")[2]


def test_dynamic_templates(http: RecordingHttp) -> None:
    http.accept()
    given = envelope(JANE, data={"amount": "5", "name": "Jane"})
    make_adapter(http).send(message(given, template_id=TEMPLATE, data={"amount": "1", "shop": "S"}, subject="", text=""))
    assert http.sent == {
        "personalizations": [
            {
                "to": [{"email": "jane@example.net", "name": "Jane"}],
                "custom_args": {"hub_ref": "m7_1"},
                "dynamic_template_data": {"amount": "5", "shop": "S", "name": "Jane"},
            }
        ],
        "from": {"email": "no-reply@shop.example", "name": "Shop"},
        "template_id": TEMPLATE,
        "tracking_settings": UNTRACKED,
    }


def test_attachments_and_pictures_inside(http: RecordingHttp) -> None:
    http.accept()
    files = (Media("a.pdf", "application/pdf", b"%PDF-1"), Media("l.png", "image/png", b"\x89P", content_id="logo"))
    make_adapter(http).send(message(attachments=files))
    assert http.sent["attachments"] == [
        {"content": "JVBERi0x", "filename": "a.pdf", "type": "application/pdf", "disposition": "attachment"},
        {"content": "iVA=", "filename": "l.png", "type": "image/png", "disposition": "inline", "content_id": "logo"},
    ]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"reply_to": {"email": "r0@shop.example", "name": "R"}}),
        (2, {"reply_to_list": [{"email": "r0@shop.example", "name": "R"}, {"email": "r1@shop.example", "name": "R"}]}),
    ],
)
def test_replies(http: RecordingHttp, count: int, expected: dict[str, Any]) -> None:
    http.accept()
    make_adapter(http).send(message(reply_to=tuple(Mailbox(f"r{number}@shop.example", "R") for number in range(count))))
    assert {name: value for name, value in http.sent.items() if name.startswith("reply_to")} == expected


def test_tracking_only_where_it_is_wanted(http: RecordingHttp) -> None:
    http.accept()
    make_adapter(http).send(message(track=True))
    tracked = {"click_tracking": {"enable": True, "enable_text": False}, "open_tracking": {"enable": True}}
    assert http.sent["tracking_settings"] == tracked


def test_names_with_separators_are_quoted_for_recipients_only(http: RecordingHttp) -> None:
    http.accept()
    given = EmailMessage(
        "msg_1", Mailbox("s@shop.example", "Shop, Inc"), (envelope(Target("a@example.net", "r", 'Ann "A", MD')),), "S", "T"
    )
    make_adapter(http).send(given)
    assert http.sent["personalizations"][0]["to"] == [{"email": "a@example.net", "name": '"Ann \\"A\\", MD"'}]
    assert http.sent["from"] == {"email": "s@shop.example", "name": "Shop, Inc"}


def test_international_domains_go_in_their_ascii_form(http: RecordingHttp) -> None:
    http.accept()
    two = Envelope(to=(Target("info@bücher.example", "r1"),), cc=(JOHN,))
    (result, _other) = make_adapter(http).send(message(two)).recipients
    (made,) = http.sent["personalizations"]
    assert made["to"] == [{"email": "info@xn--bcher-kva.example"}]
    assert result.address == "info@bücher.example"
    assert ref_for(made["custom_args"], "info@xn--bcher-kva.example") == "r1"


def test_the_sandbox_environment_delivers_nothing(http: RecordingHttp) -> None:
    http.answer(status=200)
    (result,) = make_adapter(http, view(Environment.SANDBOX)).send(message()).recipients
    assert http.sent["mail_settings"] == {"sandbox_mode": {"enable": True}}
    assert (result.state, result.provider_ref) == ("sent", "")
    assert result.detail == "checked by SendGrid's sandbox, not delivered"


@pytest.mark.parametrize(
    ("environment", "region", "url"),
    [
        (Environment.PRODUCTION, "global", "/v3/mail/send"),
        (Environment.PRODUCTION, "eu", "https://api.eu.sendgrid.com/v3/mail/send"),
        (Environment.SANDBOX, "eu", "https://api.eu.sendgrid.com/v3/mail/send"),
        (Environment.SIMULATOR, "eu", "/v3/mail/send"),
    ],
)
def test_the_region_chooses_the_host(http: RecordingHttp, environment: Environment, region: str, url: str) -> None:
    http.accept()
    make_adapter(http, view(environment, region=region)).send(message())
    assert http.calls[0]["url"] == url


def test_on_behalf_of_a_subuser(http: RecordingHttp) -> None:
    http.accept()
    make_adapter(http, view(subuser="school-1")).send(message())
    assert http.calls[0]["headers"]["On-Behalf-Of"] == "school-1"


BIG = Media("a", "text/plain", b"x" * (20 * 1024 * 1024 + 1))


@pytest.mark.parametrize(
    ("bad", "attr"),
    [
        (EmailMessage("msg_1", SHOP, (), "S", "T"), "to"),
        (message(*[envelope(Target(f"p{n}@example.net")) for n in range(101)]), "to"),
        (message(envelope(*[Target(f"p{n}@example.net") for n in range(1001)])), "to"),
        (message(Envelope(to=(), cc=(JANE,))), "to"),
        (message(Envelope(to=(JANE,), cc=(Target("JANE@example.net"),))), "to"),
        (message(headers={"reply-to": "x@example.net"}), "headers"),
        (message(envelope(JANE, headers={"X-SG-EID": "1"})), "headers"),
        (message(template_id="0f1e2d3c-legacy"), "template"),
        (message(subject=" "), "subject"),
        (message(envelope(JANE, subject="S"), envelope(JOHN), subject=""), "subject"),
        (message(text=" "), "message"),
        (message(category="c" * 256), "category"),
        (message(attachments=(Media("a.pdf", "application/pdf", url="https://x.example/a.pdf"),)), "attachments"),
        (message(attachments=(Media("", "application/pdf", b"x"),)), "attachments"),
        (message(attachments=(BIG,)), "attachments"),
    ],
)
def test_what_sendgrid_would_refuse_is_not_sent(http: RecordingHttp, bad: EmailMessage, attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(bad)
    assert caught.value.attr == attr
    assert http.calls == []
