"""Templates by API: written, previewed, sent by; and never with a hole in the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django_scopes import scope, scopes_disabled
from rest_framework.test import APIClient

from integrations.messaging.models import Message, MessageTemplate
from integrations.models import QueueItem, Role
from tests.factories import make_client
from tests.messaging.conftest import Account
from tests.messaging.test_api import person

pytestmark = pytest.mark.django_db
BASE = "/api/v1/integrations/templates"
FEE = {"channel": "sms", "name": "fee-due", "body": "Dear {{ name }}, {{ fee.amount }} is due."}
DATA = {"name": "Jane", "fee": {"amount": "KES 1,500"}}


@pytest.fixture
def api(school: Account) -> APIClient:
    return make_client(school.tenant)


def write(api: APIClient, **changes: Any) -> Any:
    return api.post(BASE, {**FEE, **changes}, format="json")


def send(api: APIClient, **changes: Any) -> Any:
    body = {"to": "+254711000123", "template": "fee-due", "data": DATA, **changes}
    return api.post("/api/v1/integrations/sms/send", body, format="json")


def first(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["errors"][0]
    return answer.status_code, error["attr"], error["code"]


def test_a_template_is_written_changed_and_removed(api: APIClient) -> None:
    made = write(api, description="When a fee is due")
    assert made.status_code == 201, made.json()
    assert made.json()["variables"] == ["name", "fee.amount"]
    one = f"{BASE}/{made.json()['id']}"

    changed = api.patch(one, {"body": "{{ name }}: pay."}, format="json")
    assert (changed.status_code, changed.json()["variables"], changed.json()["description"]) == (
        200, ["name"], "When a fee is due",
    )  # fmt: skip
    replaced = api.put(one, FEE, format="json")
    assert (replaced.json()["body"], replaced.json()["description"]) == (FEE["body"], "")
    assert [each["id"] for each in api.get(BASE, {"channel": "sms", "name": "fee-due"}).json()["results"]] == [
        made.json()["id"]
    ]
    assert api.delete(one).status_code == 204
    assert api.get(one).status_code == 404


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"body": "Dear {{ name"}, "body"),
        ({"body": "{% if x %}"}, "body"),
        ({"language": "english"}, "language"),
        ({"name": "fee due"}, "name"),
        ({"channel": "fax"}, "channel"),
        ({"subject": "Fees"}, "subject"),
        ({"html": "<p>"}, "html"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_bad_template_is_refused_by_field(api: APIClient, changes: dict[str, Any], attr: str) -> None:
    assert first(write(api, **changes))[:2] == (400, attr)
    assert MessageTemplate.objects.count() == 0


def test_one_of_a_name_and_language(api: APIClient) -> None:
    assert write(api).status_code == 201
    assert first(write(api))[:2] == (409, "name")
    assert write(api, language="sw").status_code == 201
    assert MessageTemplate.objects.count() == 2


def test_a_text_is_made_from_it_and_keeps_its_words(api: APIClient) -> None:
    write(api)
    sent = send(api)
    assert sent.status_code == 202, sent.json()
    assert (sent.json()["message"], sent.json()["template"]) == ("Dear Jane, KES 1,500 is due.", "fee-due")
    MessageTemplate.objects.update(body="something else")
    assert Message.objects.get().body == "Dear Jane, KES 1,500 is due."


@pytest.mark.parametrize(
    ("asked", "said"),
    [("", "all"), ("fr", "all"), ("sw", "sw"), ("sw-KE", "sw-KE"), ("sw-TZ", "sw")],
)
def test_the_nearest_language_is_used(api: APIClient, asked: str, said: str) -> None:
    for language, body in (("", "all"), ("sw", "sw"), ("sw-KE", "sw-KE")):
        write(api, language=language, body=body)
    assert send(api, language=asked, data={}).json()["message"] == said


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"data": {"name": "Jane"}}, "data"),
        ({"data": {"name": "Jane", "fee": "1500"}}, "data"),
        ({"template": "nobody"}, "template"),
        ({"message": "and a text"}, "template"),
        ({"template": ""}, "message"),
    ],
)
def test_nothing_is_sent_where_something_is_missing(api: APIClient, changes: dict[str, Any], attr: str) -> None:
    write(api)
    assert first(send(api, **changes))[:2] == (400, attr)
    assert (Message.objects.count(), QueueItem.unscoped.count()) == (0, 0)


def test_every_missing_variable_is_named(api: APIClient) -> None:
    write(api)
    answer = send(api, data={})
    assert answer.json()["errors"][0]["detail"] == "Missing for the template 'fee-due': name, fee.amount."


def test_a_language_that_is_not_there_names_those_that_are(api: APIClient) -> None:
    write(api, language="sw")
    write(api, language="en")
    answer = send(api, language="fr")
    assert first(answer)[:2] == (400, "language")
    assert answer.json()["errors"][0]["detail"].endswith("is there in: en, sw. Name one of these languages.")


def test_one_that_is_switched_off_serves_nothing(api: APIClient) -> None:
    write(api, is_active=False)
    assert first(send(api))[:2] == (400, "template")


def test_previews_send_nothing(api: APIClient) -> None:
    template_id = write(api).json()["id"]
    shown = api.post(f"{BASE}/{template_id}/preview", {"data": {**DATA, "name": "Zoë 😀"}}, format="json")
    assert shown.status_code == 200, shown.json()
    assert (shown.json()["body"], shown.json()["segments"], shown.json()["encoding"]) == (
        "Dear Zoë 😀, KES 1,500 is due.", 1, "UCS-2",
    )  # fmt: skip
    counted = api.post("/api/v1/integrations/sms/preview", {"template": "fee-due", "data": DATA}, format="json")
    assert (counted.json()["encoding"], counted.json()["units"]) == ("GSM-7", 28)
    assert first(api.post(f"{BASE}/{template_id}/preview", {"data": {}}, format="json"))[:2] == (400, "data")
    assert (Message.objects.count(), QueueItem.unscoped.count()) == (0, 0)


def test_another_tenants_template_is_not_there(api: APIClient, studio: Account, api_of: Callable[..., APIClient]) -> None:
    with scope(tenant=studio.tenant):
        template_id = write(api_of(studio.tenant)).json()["id"]
    assert first(send(api))[:2] == (400, "template")
    for method in ("get", "delete"):
        assert getattr(api, method)(f"{BASE}/{template_id}").status_code == 404
    assert api.put(f"{BASE}/{template_id}", FEE, format="json").status_code == 404
    assert api.post(f"{BASE}/{template_id}/preview", {}, format="json").status_code == 404
    with scopes_disabled():
        assert MessageTemplate.unscoped.filter(pk=template_id).exists()


@pytest.fixture
def api_of() -> Callable[..., APIClient]:
    return make_client


@pytest.mark.parametrize(("channels", "status"), [((), 403), (("email",), 403), (("sms",), 200)])
def test_a_template_is_written_by_those_who_may_send_on_its_channel(
    school: Account, api: APIClient, channels: tuple[str, ...], status: int
) -> None:
    desk = person(school, channels=channels)
    url = f"{BASE}/{write(api).json()['id']}"
    changed = {**FEE, "body": "Pay to 0700 000000"}
    answers = [
        desk.post(BASE, {**changed, "name": "other"}, format="json"),
        desk.put(url, changed, format="json"),
        desk.patch(url, {"body": "Pay to 0700 000000"}, format="json"),
        desk.delete(url),
    ]
    wanted = [403] * 4 if status == 403 else [201, 200, 200, 204]
    assert [each.status_code for each in answers] == wanted
    if status == 403:
        assert [each.body for each in MessageTemplate.objects.all()] == [FEE["body"]]
        assert "(sms)" in answers[0].json()["errors"][0]["detail"]
    assert desk.get(BASE).status_code == 200


def test_a_template_moves_only_to_a_channel_of_ones_own(school: Account, api: APIClient) -> None:
    url = f"{BASE}/{write(api).json()['id']}"
    desk = person(school, channels=("sms",))
    for answer in (
        desk.patch(url, {"channel": "whatsapp"}, format="json"),
        desk.put(url, {**FEE, "channel": "whatsapp"}, format="json"),
    ):
        assert (answer.status_code, "(whatsapp)" in answer.json()["errors"][0]["detail"]) == (403, True)
    assert MessageTemplate.objects.get().channel == "sms"
    both = person(school, channels=("sms", "whatsapp"))
    assert both.patch(url, {"channel": "whatsapp"}, format="json").json()["channel"] == "whatsapp"
    assert person(school, Role.ADMIN, ()).patch(url, {"channel": "sms"}, format="json").status_code == 200
