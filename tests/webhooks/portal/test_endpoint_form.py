"""Every field of an endpoint's form, checked by the API's own serializer."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.webhooks.portal.conftest import MakeClient, text_of
from tests.webhooks.portal.test_pages import NEW
from webhooks.outbound import signing
from webhooks.outbound.endpoints.serializers import EndpointInput
from webhooks.outbound.models import Endpoint
from webhooks.outbound.portal.forms import EndpointForm

pytestmark = pytest.mark.django_db
ALL = {
    **NEW,
    "channels": "shop, till",
    "filter": '{"data.object.currency": "KES"}',
    "payload_format": "flat",
    "ordering": "object",
    "batch_size": "20",
    "batch_wait": "30",
    "max_in_flight": "3",
    "rate_per_second": "2.5",
    "retry_delays": "5, 60, 3600.5",
}


@pytest.fixture
def jane(logged_in: MakeClient) -> Client:
    return logged_in()


def stored() -> dict[str, object]:
    names = ("channels", "filter", "payload_format", "ordering", "batch_size", "batch_wait", "max_in_flight", "retry_delays")
    endpoint = Endpoint.unscoped.get()
    return {"rate_per_second": endpoint.rate_per_second, **{name: getattr(endpoint, name) for name in names}}


def test_the_form_has_all_that_the_api_takes() -> None:
    assert set(EndpointForm().fields) == set(EndpointInput().fields) - {"is_active", "held"}


def test_every_field_arrives_and_is_shown_again(jane: Client) -> None:
    assert jane.post("/portal/endpoints/new/", ALL).status_code == 200
    expected = {
        "channels": ["shop", "till"],
        "filter": {"data.object.currency": "KES"},
        "payload_format": "flat",
        "ordering": "object",
        "batch_size": 20,
        "batch_wait": 30,
        "max_in_flight": 3,
        "rate_per_second": 2.5,
        "retry_delays": [5, 60, 3600.5],
    }
    assert stored() == expected
    form = EndpointForm(stored=Endpoint.unscoped.get())
    again = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    address = f"/portal/endpoints/{Endpoint.unscoped.get().pk}/edit/"
    answer = jane.post(address, {"for": NEW["for"], **{name: value for name, value in again.items() if value is not None}})
    assert answer.status_code == 302
    assert stored() == expected
    plain = dict.fromkeys(("channels", "filter", "rate_per_second", "retry_delays", "headers"), "")
    assert jane.post(address, {**ALL, **plain}).status_code == 302
    assert stored() == {**expected, "channels": [], "filter": None, "rate_per_second": None, "retry_delays": []}
    assert Endpoint.unscoped.get().headers() == {}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"filter": "{"}, "not JSON"),
        ({"filter": "[1]"}, "Filter"),
        ({"filter": '{"a": {"$no": 1}}'}, "Filter"),
        ({"filter": '{"a": NaN}'}, "not JSON"),
        ({"filter": '{"a": "\\ud800"}'}, "not JSON"),
        ({"filter": '{"a": "\\u0000"}'}, "not JSON"),
        ({"filter": "[" * 100_000}, "not JSON"),
        ({"batch_size": "0"}, "Events in one request"),
        ({"batch_wait": "301"}, "Wait for a batch"),
        ({"max_in_flight": "65"}, "Requests at once"),
        ({"max_in_flight": "9" * 30}, "Requests at once"),
        ({"rate_per_second": "-1"}, "Requests a second"),
        ({"rate_per_second": "inf"}, "Requests a second"),
        ({"retry_delays": "soon"}, "numbers"),
        ({"retry_delays": "nan"}, "Retry delays"),
        ({"retry_delays": "0"}, "Retry delays"),
        ({"retry_delays": "9" * 5000}, "numbers"),
        ({"payload_format": "xml"}, "valid choice"),
        ({"ordering": "backwards"}, "valid choice"),
        ({"scheme": "v9"}, "valid choice"),
        ({"secret": "whsec_short"}, "Your own signing secret"),
        ({"name": "a\x00b"}, "Null characters"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(wrong: dict[str, str], says: str, jane: Client) -> None:
    answer = jane.post("/portal/endpoints/new/", {**ALL, **wrong})
    assert answer.status_code == 400
    assert says in text_of(answer).split('id="errors"')[1].split("</ul>")[0]
    assert not Endpoint.unscoped.exists()


@pytest.mark.parametrize("scheme", signing.SCHEMES)
def test_a_secret_that_is_brought_along_decides_how_it_signs(scheme: str, jane: Client) -> None:
    secret = signing.new_secret(scheme)
    answer = jane.post("/portal/endpoints/new/", {**NEW, "secret": secret})
    assert answer.status_code == 200
    (key,) = Endpoint.unscoped.get().signing_keys()
    assert (key["scheme"], key["secret"]) == (scheme, secret)
    assert (secret in text_of(answer)) == (scheme == signing.SYMMETRIC)
