"""The same targets, for calls to providers: an account's address can be a tenant's to write as well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from integrations.contracts.errors import InvalidRequest
from integrations.http import pools
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from tests.http.hostile.spy import Spy
from tests.http.hostile.targets import ADDRESSES, GOOD, NAMES, TEXT, literal
from tests.webhooks.outbound.conftest import Answer, Receiver


@pytest.fixture
def client(db: None) -> HttpClient:
    pools.forget()  # no connection that an earlier test left open
    return HttpClient(
        provider="example", base_url="http://good.example", mask=Mask(), recorder=SilentRecorder(), timeout=(2.0, 2.0)
    )


def test_no_hostile_url_is_dialled(client: HttpClient, spy: Spy) -> None:
    for url in TEXT:
        if "://" not in url:
            continue  # below the account's own address: no target of its own
        with pytest.raises(InvalidRequest, match="not allowed"):
            client.request("POST", url, operation="send", body=b"x")
    assert (spy.dialled, spy.looked_up) == ([], [])


def test_no_name_that_leads_inside_is_dialled(client: HttpClient, spy: Spy) -> None:
    for host in NAMES:
        with pytest.raises(InvalidRequest, match="not allowed"):
            client.request("POST", f"http://{host}/", operation="send", body=b"x")
    assert {host.rstrip(".") for host in spy.looked_up} == {host.rstrip(".") for host in NAMES}
    assert spy.dialled == []


def test_a_name_that_changes_is_dialled_where_it_was_checked(client: HttpClient, spy: Spy) -> None:
    spy.name("rebinding.example", [GOOD], ["127.0.0.1"])
    with pytest.raises(Exception, match="No connection"):
        client.request("POST", "http://rebinding.example/", operation="send", body=b"x")
    with pytest.raises(InvalidRequest, match="not allowed"):
        client.request("POST", "http://rebinding.example/", operation="send", body=b"x")
    assert spy.dialled == [(GOOD, 80)]


def test_no_redirect_is_followed(
    client: HttpClient, receiver: Receiver, spy: Spy, open_receiver: Callable[[], tuple[str, int]]
) -> None:
    allowed = open_receiver()
    for target in (*(literal(group[0]) for group in ADDRESSES.values()), "http://localhost/", "http://rebinding.example/"):
        receiver.answers["/away"] = [Answer(307, headers={"Location": target})]
        assert client.request("POST", f"{receiver.url}/away", operation="send", body=b"x").status == 307
    assert set(spy.dialled) == {allowed}
    assert spy.looked_up == []
