"""Every provider of messages, held to one contract over real sockets: what it answers, and what it makes of each way in which a
call can go wrong. Nobody is ever written to twice, and an error says truly whether anything was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
import requests

from integrations import registry
from integrations.contracts import clock
from integrations.contracts.adapter import Adapter
from integrations.contracts.capabilities import Capability
from integrations.contracts.email import EmailAdapter
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
    UnsupportedOperation,
)
from integrations.contracts.ids import new_id
from integrations.contracts.messaging import Balance, MessageState, RecipientResult, SendQuery, SendResult, Target
from integrations.contracts.push import PushAdapter
from integrations.contracts.sms import SmsAdapter
from integrations.contracts.whatsapp import WhatsAppAdapter
from integrations.simulators import running_simulators
from tests.contracts.accounts import accounts, connect
from tests.contracts.messaging.drivers import BATCHING, DRIVERS, REFUSING, Driver

BASES: tuple[Any, ...] = (SmsAdapter, EmailAdapter, PushAdapter, WhatsAppAdapter)
NOBODY = "http://127.0.0.1:1024"
each_driver = pytest.mark.parametrize("driver", DRIVERS, ids=str)


@dataclass
class Account:
    """A provider's demo account: its adapter, and its simulator's controls."""

    driver: Driver
    running: running_simulators

    def adapter(self, **changes: Any) -> Any:
        return connect(self.driver.provider, self.driver.capability, self.running, **changes)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.running.url}/control/{self.driver.slug}/{path}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fault(self, name: str, **details: Any) -> None:
        self.control("POST", "faults", {"operation": self.driver.operation, "fault": name, **details})

    def seen(self) -> list[dict[str, Any]]:
        """Return the sends that reached the simulator, whatever became of them."""
        return [each for each in self.control("GET", "requests") if each["operation"] == self.driver.operation]

    def accepted(self) -> int:
        """Return how many sends had their effect: answered with success, or cut off after it."""
        cut = {"drop_after_accept", "error_500_after"}
        return sum(1 for each in self.seen() if cut & set(each["fault"].split()) or 200 <= (each["status"] or 0) < 300)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running_simulators]:
    with running_simulators(registry.simulators(), state_dir=tmp_path_factory.mktemp("simulators")) as found:
        yield found


@pytest.fixture
def account(driver: Driver, running: running_simulators) -> Account:
    found = Account(driver, running)
    requests.post(f"{running.url}/control/{driver.slug}/faults/clear", timeout=30).raise_for_status()
    before = found.accepted()
    found.accepted = lambda: Account.accepted(found) - before  # type: ignore[method-assign]
    return found


def results(answer: SendResult | RecipientResult) -> tuple[RecipientResult, ...]:
    return answer.recipients if isinstance(answer, SendResult) else (answer,)


def outcome(account: Account, message: Any) -> RecipientResult | ProviderError:
    """Return what the provider said of the one recipient, or the error."""
    try:
        [said] = results(account.adapter().send(message))
    except ProviderError as error:
        return error
    return said


def in_doubt(said: RecipientResult | ProviderError) -> bool:
    """Tell whether this forbids to send the same again without asking."""
    if isinstance(said, RecipientResult):
        return said.state is MessageState.UNKNOWN
    return isinstance(said, OutcomeUnknown) and not said.retryable


def overrides(adapter: Adapter, method: str) -> bool:
    return all(getattr(type(adapter), method) is not getattr(base, method, None) for base in BASES)


@each_driver
def test_a_send_is_taken_and_named(account: Account, driver: Driver) -> None:
    [target] = driver.targets()
    [said] = results(account.adapter().send(driver.message([target])))
    assert (said.address, said.state, said.retryable, said.suppress) == (target.address, MessageState.SENT, False, None)
    assert said.provider_ref
    assert account.accepted() == 1


@pytest.mark.parametrize("driver", BATCHING, ids=str)
def test_a_full_batch_is_answered_one_by_one_in_the_order_asked(account: Account, driver: Driver) -> None:
    adapter = account.adapter()
    targets = driver.targets(adapter.batch_size)
    said = results(adapter.send(driver.message(targets)))
    assert [each.address for each in said] == [each.address for each in targets]
    assert {each.state for each in said} == {MessageState.SENT}


@pytest.mark.parametrize("driver", BATCHING, ids=str)
def test_a_batch_too_large_or_empty_is_refused_before_anything_is_sent(account: Account, driver: Driver) -> None:
    adapter = account.adapter()
    for number in (0, adapter.batch_size + 1):
        with pytest.raises(InvalidRequest):
            adapter.send(driver.message(driver.targets(number)))
    assert account.accepted() == 0


@pytest.mark.parametrize("driver", REFUSING, ids=str)
def test_a_recipient_who_is_refused_fails_for_himself(account: Account, driver: Driver) -> None:
    [said] = results(account.adapter().send(driver.message([Target(driver.bad, ref="r1")])))
    assert (said.address, said.state, said.retryable) == (driver.bad, MessageState.FAILED, False)
    assert said.provider_code
    assert said.detail


@pytest.mark.parametrize("driver", [each for each in REFUSING if each in BATCHING], ids=str)
def test_a_bad_recipient_leaves_the_others_of_his_batch_alone(account: Account, driver: Driver) -> None:
    adapter = account.adapter()
    if adapter.batch_size < 3:
        targets = [Target(driver.bad, ref="r2")]
        states = [MessageState.FAILED]
    else:
        first, last = driver.targets(2)
        targets = [first, Target(driver.bad, ref="r2"), last]
        states = [MessageState.SENT, MessageState.FAILED, MessageState.SENT]
    assert [each.state for each in results(adapter.send(driver.message(targets)))] == states


@each_driver
def test_wrong_secrets_are_told_apart_and_nothing_is_sent(account: Account, driver: Driver) -> None:
    secrets = accounts(driver.provider, account.running)[0].secrets
    wrong = {name: "wrong" + str(value)[5:] for name, value in secrets.items()}
    with pytest.raises((AuthenticationFailed, InvalidRequest)) as caught:
        account.adapter(secrets=wrong).send(driver.message(driver.targets()))
    assert not any(str(secret) in str(caught.value) for secret in [*secrets.values(), *wrong.values()])
    assert account.accepted() == 0


@each_driver
def test_nobody_there_is_certain(account: Account, driver: Driver) -> None:
    if driver.slug == "smtp":
        account.fault("refuse")
        adapter = account.adapter()
    else:
        adapter = account.adapter(base_url=NOBODY)
    with pytest.raises(ProviderUnavailable) as caught:
        adapter.send(driver.message(driver.targets()))
    assert caught.value.retryable
    assert account.accepted() == 0


@each_driver
def test_too_fast_is_tried_again_later(account: Account, driver: Driver) -> None:
    account.fault("error_429", retry_after=7)
    said = outcome(account, driver.message(driver.targets()))
    if isinstance(said, RecipientResult):
        assert (said.state, said.retryable) == (MessageState.FAILED, True)
    else:
        assert (type(said), said.retryable) == (RateLimited, True)
    assert account.accepted() == 0


@each_driver
def test_a_lost_answer_is_never_called_a_failure(account: Account, driver: Driver) -> None:
    account.fault("drop_after_accept")
    assert in_doubt(outcome(account, driver.message(driver.targets())))
    assert account.accepted() == 1


@each_driver
def test_a_failure_after_the_effect_is_no_proof_of_nothing(account: Account, driver: Driver) -> None:
    account.fault("error_500_after")
    assert in_doubt(outcome(account, driver.message(driver.targets())))
    assert account.accepted() == 1


@pytest.mark.parametrize("driver", [each for each in DRIVERS if each.capability is Capability.PUSH], ids=str)
@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after"])
def test_only_a_notification_that_replaces_the_first_may_be_sent_again(account: Account, driver: Driver, fault: str) -> None:
    account.fault(fault)
    message = driver.message(driver.targets())
    message = replace(message, collapse_key=message.message_id)
    said = outcome(account, message)
    assert (type(said), said.retryable) == (Undecided, True)
    [again] = results(account.adapter().send(message))
    assert again.state is MessageState.SENT
    shown = {json.dumps(each["body"]) for each in account.seen()[-2:]}
    assert len(shown) == 1  # the very same: the device replaces the first by it


@each_driver
def test_what_was_lost_is_found_where_the_provider_can_be_asked(account: Account, driver: Driver) -> None:
    adapter = account.adapter()
    [target] = driver.targets()
    message = driver.message([target])
    letter = f"{message.message_id}.0@example.com" if isinstance(adapter, EmailAdapter) else message.message_id
    words = driver.template_text or getattr(message, "text", "")
    query = SendQuery(letter, target, sent_at=clock.now(), text=words)
    if isinstance(adapter, PushAdapter):
        assert not hasattr(adapter, "find")
        return
    if not overrides(adapter, "find"):
        with pytest.raises(UnsupportedOperation):
            adapter.find(query)
        return
    account.fault("drop_after_accept")
    with pytest.raises(OutcomeUnknown):
        adapter.send(message)
    found = adapter.find(query)
    assert found is not None
    assert found.address == target.address
    assert found.state in {MessageState.QUEUED, MessageState.SENT, MessageState.DELIVERED}
    [stranger] = driver.targets()
    other = replace(query, message_id=letter.replace(message.message_id, new_id("msg")), target=stranger, text="never sent")
    assert adapter.find(other) is None
    assert account.accepted() == 1


@each_driver
def test_a_balance_is_told_or_said_not_to_be_there(account: Account, driver: Driver) -> None:
    adapter = account.adapter()
    if isinstance(adapter, PushAdapter):
        assert not hasattr(adapter, "balance")
        return
    if overrides(adapter, "balance"):
        found = adapter.balance()
        assert isinstance(found, Balance)
        assert isinstance(found.amount, Decimal)
        assert bool(found.currency) != bool(found.unit)
    else:
        with pytest.raises(UnsupportedOperation):
            adapter.balance()
    assert account.accepted() == 0
