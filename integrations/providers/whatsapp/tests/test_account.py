"""The number, templates, files of customers, the webhook settings."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    UnsupportedOperation,
)
from integrations.contracts.messaging import Media
from integrations.contracts.schema import SchemaErrors
from integrations.contracts.whatsapp import TemplateInfo
from integrations.providers.whatsapp.provider import PROVIDER
from integrations.providers.whatsapp.tests.support import (
    NUMBER_ID,
    SECRETS,
    TOKEN,
    VERIFY_TOKEN,
    WABA_ID,
    RecordingHttp,
    fixture,
    make_adapter,
    view,
)

URL = "https://hub.example/hooks/0123456789abcdef/events"
FILE_URL = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=2&hash=3"


def address(url: str = FILE_URL, size: int | str = 3) -> dict[str, Any]:
    return {"url": url, "mime_type": "image/jpeg", "file_size": size, "id": "1003383421387256", "sha256": "x"}


def template(**changes: Any) -> dict[str, Any]:
    return {"name": "t", "language": "en", "status": "APPROVED", "category": "UTILITY", "id": "1", "components": [], **changes}


def test_the_connection_test_says_who_is_signed_in(http: RecordingHttp) -> None:
    http.answer(fixture("phone_number__green.json"))
    result = make_adapter(http).test_connection()
    assert (result.ok, result.status) == (True, "ok")
    assert result.detail == "Signed in as Jaspers Market (+1 555-555-5555). Quality: green."
    assert http.calls == [
        {
            "method": "GET",
            "url": f"/v25.0/{NUMBER_ID}",
            "operation": "phone_number",
            "safe": True,
            "query": {"fields": "display_phone_number,verified_name,quality_rating"},
            "headers": {"Authorization": f"Bearer {TOKEN}"},
        }
    ]


@pytest.mark.parametrize(
    ("code", "status", "error_class"),
    [
        (190, 401, AuthenticationFailed),
        (100, 400, AuthenticationFailed),
        (803, 404, AuthenticationFailed),
        (2, 503, ProviderUnavailable),
        (1, 500, ProviderUnavailable),
    ],
)
def test_the_connection_test_fails(http: RecordingHttp, code: int, status: int, error_class: type[ProviderError]) -> None:
    http.fail(code, status)
    with pytest.raises(error_class) as caught:
        make_adapter(http).test_connection()
    assert (type(caught.value), caught.value.provider_code) == (error_class, str(code))


def test_metas_own_example_of_templates(http: RecordingHttp) -> None:
    http.answer(fixture("templates__listed.json"))
    welcome, promo = make_adapter(http).templates()
    assert (welcome.name, welcome.parameters, welcome.header, welcome.buttons) == ("hello_world", 0, "text", 0)
    assert promo == TemplateInfo(
        name="2023_april_promo",
        language="en_US",
        status="approved",
        category="marketing",
        id="920070352646140",
        body="Hi {{1}}, our Fall Sale is on! Use promo code {{2}} Get an extra 25% off every order above $350!",
        parameters=2,
        header="text",
        buttons=1,
    )
    assert http.calls[0]["url"] == f"/v25.0/{WABA_ID}/message_templates"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("APPROVED", "approved"),
        ("PENDING", "pending"),
        ("REJECTED", "rejected"),
        ("IN_APPEAL", "rejected"),
        ("PAUSED", "paused"),
        ("DISABLED", "disabled"),
        ("PENDING_DELETION", "disabled"),
        ("LIMIT_EXCEEDED", "disabled"),
    ],
)
def test_template_statuses(http: RecordingHttp, given: str, status: str) -> None:
    http.answer({"data": [template(status=given)]})
    assert [each.status for each in make_adapter(http).templates()] == [status]


def test_all_pages_of_templates_are_read_by_cursor(http: RecordingHttp) -> None:
    http.answer({"data": [template(name="a")], "paging": {"cursors": {"after": "QQ"}, "next": f"https://x.example/?t={TOKEN}"}})
    http.answer({"data": [template(name="b")], "paging": {"cursors": {"after": "Qg"}}})
    assert [each.name for each in make_adapter(http).templates()] == ["a", "b"]
    assert [call["query"] for call in http.calls] == [{"limit": "100"}, {"limit": "100", "after": "QQ"}]


def test_a_list_that_never_ends_is_given_up(http: RecordingHttp) -> None:
    for _ in range(100):
        http.answer({"data": [], "paging": {"cursors": {"after": "QQ"}, "next": "https://x.example/"}})
    with pytest.raises(ProviderUnavailable):
        make_adapter(http).templates()
    assert http.replies == []


@pytest.mark.parametrize("body", [{}, {"data": "x"}, {"data": [{"name": "t"}]}, b"<html>"])
def test_templates_of_another_shape(http: RecordingHttp, body: Any) -> None:
    http.answer(body)
    with pytest.raises(ProviderUnavailable):
        make_adapter(http).templates()


def test_a_customers_file(http: RecordingHttp) -> None:
    http.answer(address())
    http.answer(b"\xff\xd8\x00")
    found = make_adapter(http).fetch_media("1003383421387256")
    assert found == Media("1003383421387256.jpg", "image/jpeg", content=b"\xff\xd8\x00")
    assert [(call["method"], call["url"], call["safe"]) for call in http.calls] == [
        ("GET", "/v25.0/1003383421387256", True),
        ("GET", FILE_URL, True),
    ]
    assert http.calls[1]["headers"] == {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "https://fbsbx.com.evil.example/x",
        "https://evilfbsbx.com/x",
        "http://lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com@evil.example/x",
        "https://user@lookaside.fbsbx.com/x",
        "https://graph.example:8443/x",
        "http://graph.example/x",
        "<URL>",
    ],
)
def test_the_token_goes_to_no_other_host(http: RecordingHttp, url: str) -> None:
    http.answer(address(url))
    with pytest.raises(ProviderUnavailable):
        make_adapter(http).fetch_media("1003383421387256")
    assert len(http.calls) == 1


def test_files_that_cant_be_had(http: RecordingHttp) -> None:
    adapter = make_adapter(http)
    for media_id in ("", "../me", "1/x", "abc"):
        with pytest.raises(NotFound):
            adapter.fetch_media(media_id)
    assert http.calls == []
    http.fail(100, 400)
    with pytest.raises(NotFound):
        adapter.fetch_media("1")
    http.answer(address(size=str(4 * 1024 * 1024 + 1)))
    with pytest.raises(UnsupportedOperation):
        adapter.fetch_media("1")
    http.answer(address())
    http.answer(b"expired", 404)
    with pytest.raises(ProviderUnavailable):
        adapter.fetch_media("1")
    http.answer(address())
    http.answer(b"no", 401)
    with pytest.raises(AuthenticationFailed):
        adapter.fetch_media("1")


def test_webhooks_are_registered_for_the_number(http: RecordingHttp) -> None:
    http.answer({"data": []})
    http.answer({"id": NUMBER_ID, "webhook_configuration": {"application": "https://old.example/"}})
    http.answer({"success": True})
    http.answer({"success": True})
    registration = make_adapter(http).register_webhooks({"events": URL})
    assert (dict(registration.values), dict(registration.secrets)) == ({}, {})
    assert [(call["method"], call["url"]) for call in http.calls] == [
        ("GET", f"/v25.0/{WABA_ID}/subscribed_apps"),
        ("GET", f"/v25.0/{NUMBER_ID}"),
        ("POST", f"/v25.0/{WABA_ID}/subscribed_apps"),
        ("POST", f"/v25.0/{NUMBER_ID}"),
    ]
    assert http.calls[-1]["json"] == {"webhook_configuration": {"override_callback_uri": URL, "verify_token": VERIFY_TOKEN}}


def test_registering_again_changes_nothing(http: RecordingHttp) -> None:
    http.answer({"data": [{"whatsapp_business_api_data": {"id": "1"}}]})
    http.answer({"id": NUMBER_ID, "webhook_configuration": {"phone_number": URL}})
    assert make_adapter(http).register_webhooks({"events": URL}).detail == "Meta calls this URL already."
    assert [call["method"] for call in http.calls] == ["GET", "GET"]


def test_registering_nothing_is_refused(http: RecordingHttp) -> None:
    with pytest.raises(InvalidRequest):
        make_adapter(http).register_webhooks({})
    assert http.calls == []


def test_the_version_is_part_of_the_address(http: RecordingHttp) -> None:
    http.answer(fixture("phone_number__green.json"))
    make_adapter(http, view(api_version="v23.0")).test_connection()
    assert http.calls[0]["url"] == f"/v23.0/{NUMBER_ID}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_version", "25"),
        ("api_version", "v25.0/../x"),
        ("phone_number_id", "+254700000042"),
        ("waba_id", "me"),
        ("verify_token", "short"),
        ("access_token", "two words"),
        ("app_secret", ""),
    ],
)
def test_config_values_that_cant_be_right(name: str, value: str) -> None:
    given = {**SECRETS, "phone_number_id": NUMBER_ID, "waba_id": WABA_ID, name: value}
    with pytest.raises(SchemaErrors) as caught:
        PROVIDER.config.clean(given)
    assert set(caught.value.errors) == {name}
