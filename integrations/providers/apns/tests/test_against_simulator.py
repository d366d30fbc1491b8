"""The real adapter, the hub's HTTP/2 client and the simulator over real sockets."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
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
    Undecided,
)
from integrations.contracts.messaging import MessageState, SuppressReason
from integrations.contracts.push import PushNotification
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.http2 import Http2Client, account_of
from integrations.http.masking import Mask
from integrations.providers.apns import payload
from integrations.providers.apns.adapter import ApnsPush
from integrations.providers.apns.provider import PROVIDER
from integrations.providers.apns.simulator import ApnsSimulator
from integrations.providers.apns.tests.conftest import TOKEN, Tokens, notification
from integrations.simulators import ManualClock, running_simulators

SLUG = PROVIDER.slug
Make = Callable[..., ApnsPush]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_795_165_200.0)


@pytest.fixture
def simulator(tmp_path: Path, clock: ManualClock) -> Iterator[running_simulators]:
    with running_simulators([ApnsSimulator], state_dir=tmp_path, clock=clock) as running:
        yield running
        assert running.violations == []


@pytest.fixture
def make(simulator: running_simulators, tmp_path: Path, clock: ManualClock) -> Make:
    school, studio = ApnsSimulator.demo_accounts(tmp_path)

    def build(*, base_url: str = "", tokens: Tokens | None = None, of_studio: bool = False, **changes: Any) -> ApnsPush:
        account = studio if of_studio else school
        plain, secrets = PROVIDER.config.clean({**account.values, **account.secrets, **changes})
        url = base_url or f"{simulator.url}/{SLUG}"
        config = ConfigView(
            id=1, tenant_id=1, provider=SLUG, environment=Environment.SIMULATOR, base_url=url, values=plain, secrets=secrets
        )
        client = Http2Client(
            account=account_of(config),
            provider=SLUG,
            base_url=url,
            mask=Mask(keys=PROVIDER.masked_keys),
            recorder=SilentRecorder(),
            timeout=(2, 5),
        )
        return ApnsPush(
            config=config, http=client, tokens=tokens or Tokens(), clock=lambda: datetime.fromtimestamp(clock.now(), UTC)
        )

    return build


def messages(simulator: running_simulators) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(f"{simulator.url}/control/{SLUG}/messages", timeout=5).json()["messages"]
    return found


def set_fault(simulator: running_simulators, name: str, **details: Any) -> None:
    body = {"operation": "send", "fault": name, **details}
    requests.post(f"{simulator.url}/control/{SLUG}/faults", json=body, timeout=5).raise_for_status()


def to(prefix: str, **changes: Any) -> PushNotification:
    return notification(prefix + "ab12" * 15, **changes)


def test_a_notification_arrives_whole(simulator: running_simulators, make: Make, clock: ManualClock) -> None:
    given = notification(title="Ada", body="Größe 38", badge=2, data={"order": "7"}, collapse_key="msg_1", ttl=60)
    result = make().send(given)
    (found,) = messages(simulator)
    assert (result.state, result.provider_ref) == (MessageState.SENT, payload.apns_id(given))
    del found["id"], found["connection"]
    assert found == {
        "account": "school",
        "to": TOKEN,
        "channel": "push",
        "title": "Ada",
        "text": "Größe 38",
        "ref": payload.apns_id(given),
        "state": "sent",
        "topic": "com.example.school",
        "push_type": "alert",
        "priority": 10,
        "expiration": str(int(clock.now()) + 60),
        "collapse_id": "msg_1",
        "environment": "production",
        "payload": {"aps": {"alert": {"title": "Ada", "body": "Größe 38"}, "badge": 2}, "order": "7", "hub_message": "r_1"},
        "at": clock.now(),
    }


def test_a_silent_one_and_one_for_another_app_are_accepted(simulator: running_simulators, make: Make) -> None:
    tokens = Tokens()
    make(tokens=tokens).send(notification(title="", body="", data={"sync": "1"}))
    with pytest.raises(InvalidRequest) as caught:
        make(tokens=tokens).send(notification(app="com.example.studio"))
    assert (caught.value.attr, caught.value.provider_code) == ("app", "TopicDisallowed")
    assert [(each["push_type"], each["priority"]) for each in messages(simulator)] == [("background", 5)]


def test_many_share_a_token_and_few_connections(simulator: running_simulators, make: Make) -> None:
    tokens = Tokens()
    make(tokens=tokens).test_connection()
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda n: make(tokens=tokens).send(notification(ref=f"r_{n}")), range(24)))
    assert {each.state for each in results} == {MessageState.SENT}
    assert len({each.provider_ref for each in results}) == 24
    found = messages(simulator)
    assert (len(found), tokens.given) == (24, 1)
    assert len({each["connection"] for each in found}) <= 4


def test_two_accounts_never_share_a_connection(simulator: running_simulators, make: Make) -> None:
    school, studio = Tokens(), Tokens()
    for _ in range(2):
        make(tokens=school).send(notification())
        make(tokens=studio, of_studio=True).send(notification())
    found = messages(simulator)
    assert sorted(each["account"] for each in found) == ["school", "school", "studio", "studio"]
    assert len({(each["account"], each["connection"]) for each in found}) == 2
    assert len({each["connection"] for each in found}) == 2


@pytest.mark.parametrize(
    ("prefix", "code", "suppress", "retryable"),
    [
        ("bad0", "BadDeviceToken", SuppressReason.INVALID, False),
        ("0f0f", "DeviceTokenNotForTopic", None, False),
        ("4290", "TooManyRequests", None, True),
    ],
)
def test_refusals_of_a_device(
    simulator: running_simulators, make: Make, prefix: str, code: str, suppress: SuppressReason | None, retryable: bool
) -> None:
    result = make().send(to(prefix))
    assert (result.state, result.provider_code) == (MessageState.FAILED, code)
    assert (result.suppress, result.retryable) == (suppress, retryable)
    assert messages(simulator) == []


@pytest.mark.parametrize(("prefix", "age"), [("dead", 0), ("dea0", 30 * 86_400)])
def test_a_device_that_is_gone(simulator: running_simulators, make: Make, clock: ManualClock, prefix: str, age: int) -> None:
    result = make().send(to(prefix))
    assert (result.suppress, result.gone_since) == (
        SuppressReason.DEAD_TOKEN,
        datetime.fromtimestamp(clock.now() - age, UTC),
    )
    assert messages(simulator) == []


def test_a_busy_device_takes_the_next_one(simulator: running_simulators, make: Make) -> None:
    tokens = Tokens()
    states = [make(tokens=tokens).send(to("4290")).state for _ in range(2)]
    assert states == [MessageState.FAILED, MessageState.SENT]


def test_a_server_that_leaves_is_left(simulator: running_simulators, make: Make) -> None:
    tokens = Tokens()
    make(tokens=tokens).send(notification())
    with pytest.raises(ProviderUnavailable) as caught:
        make(tokens=tokens).send(to("5030"))
    assert (type(caught.value), caught.value.provider_code) == (ProviderUnavailable, "Shutdown")
    make(tokens=tokens).send(to("5030"))
    found = messages(simulator)
    assert len(found) == 2
    assert found[0]["connection"] != found[1]["connection"]


def test_an_expired_token_is_renewed_within_the_call(simulator: running_simulators, make: Make) -> None:
    tokens = Tokens()
    make(tokens=tokens).send(notification())
    assert make(tokens=tokens).send(to("4030")).state is MessageState.SENT
    assert (tokens.given, len(messages(simulator))) == (2, 2)


def test_a_token_that_grew_old_is_renewed(simulator: running_simulators, make: Make, clock: ManualClock) -> None:
    tokens = Tokens()
    make(tokens=tokens).send(notification())
    clock.advance(3601)
    assert make(tokens=tokens).send(notification()).state is MessageState.SENT
    assert tokens.given == 2


def test_a_second_token_too_soon_is_refused_and_may_be_allowed(simulator: running_simulators, make: Make) -> None:
    make().send(notification())
    with pytest.raises(RateLimited) as caught:
        make().send(notification())
    assert (caught.value.provider_code, caught.value.retry_after) == ("TooManyProviderTokenUpdates", 1200.0)
    assert len(messages(simulator)) == 1
    simulator.simulator(SLUG).change_settings({"token_updates": False})
    assert make().send(notification()).state is MessageState.SENT


def test_a_development_build_is_found_on_the_other_host(simulator: running_simulators, make: Make) -> None:
    tokens = Tokens()
    for device in ("", "sandbox"):
        assert make(tokens=tokens).send(to("0de5", device_environment=device)).state is MessageState.SENT
    assert make(tokens=tokens).send(to("0de5", device_environment="production")).suppress is SuppressReason.INVALID
    assert make(tokens=tokens).send(notification(device_environment="sandbox")).suppress is SuppressReason.INVALID
    assert [each["environment"] for each in messages(simulator)] == ["sandbox", "sandbox"]


def test_connection_test(simulator: running_simulators, make: Make) -> None:
    result = make().test_connection()
    detail = "Signed in as team SCH00LTEAM with key SCH00LKEY1, for the app com.example.school."
    assert (result.ok, result.detail) == (True, detail)
    assert messages(simulator) == []
    assert make(bundle_id="com.example.nobody").test_connection().ok is False


def test_the_key_of_another_is_refused(simulator: running_simulators, make: Make, tmp_path: Path) -> None:
    other = ApnsSimulator.demo_accounts(tmp_path)[1].secrets
    for changes in (other, {"key_id": "STUD10KEY1"}, {"team_id": "STUD10TEAM"}, {"key_id": "N0SUCHKEY1"}):
        for call in (make(**changes).test_connection, lambda changes=changes: make(**changes).send(notification())):
            with pytest.raises(AuthenticationFailed) as caught:
                call()
            assert caught.value.provider_code == "InvalidProviderToken"
    assert messages(simulator) == []


@pytest.mark.parametrize(
    ("fault", "kind", "arrived"),
    [
        ("error_500", OutcomeUnknown, 0),
        ("error_500_after", OutcomeUnknown, 1),
        ("drop_after_accept", OutcomeUnknown, 1),
        ("refuse", OutcomeUnknown, 0),
    ],
)
@pytest.mark.parametrize("key", ["", "msg_1"])
def test_faults(
    simulator: running_simulators, make: Make, fault: str, kind: type[ProviderError], arrived: int, key: str
) -> None:
    set_fault(simulator, fault)
    tokens = Tokens()
    with pytest.raises(ProviderError) as caught:
        make(tokens=tokens).send(notification(collapse_key=key))
    assert type(caught.value) is (Undecided if key else kind)
    assert len(messages(simulator)) == arrived
    assert make(tokens=tokens).send(notification(collapse_key=key)).state is MessageState.SENT


def test_an_answer_that_comes_too_late(simulator: running_simulators, make: Make) -> None:
    set_fault(simulator, "delay", seconds=600)
    adapter = make()
    adapter.http._timeout = (1.0, 0.3)  # type: ignore[attr-defined]
    begun = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        adapter.send(notification())
    assert time.monotonic() - begun < 60


def test_nobody_listens(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with pytest.raises(ProviderUnavailable) as caught:
            make(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}").send(notification())
    assert type(caught.value) is ProviderUnavailable


def test_http_1_is_not_spoken(simulator: running_simulators, make: Make) -> None:
    adapter = make()
    adapter.http = HttpClient(
        provider=SLUG, base_url=adapter.config.base_url, mask=Mask(), recorder=SilentRecorder(), timeout=(2, 5)
    )
    with pytest.raises(OutcomeUnknown, match="505"):
        adapter.send(notification())
    assert messages(simulator) == []


def test_what_was_accepted_survives_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    first = [str(uuid.UUID(int=number)) for number in range(3)]
    with running_simulators([ApnsSimulator], state_dir=tmp_path, clock=clock) as running:
        for each in first:
            running.store.put(SLUG, "message", each, {"id": each}, ref="school")
    with running_simulators([ApnsSimulator], state_dir=tmp_path, clock=clock) as running:
        assert [each["id"] for each in messages(running)] == first[::-1]
