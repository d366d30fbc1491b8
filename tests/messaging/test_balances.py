"""Balances: asked of the accounts that have one, kept, and warned about."""

from __future__ import annotations

from decimal import Decimal

import pytest
import requests
from django_scopes import scope, scopes_disabled

from integrations.contracts.messaging import Balance
from integrations.messaging.models import BalanceReading, Channel, SendingPolicy
from integrations.messaging.safety.balances import ask_all, channels_with_balance, store
from integrations.models import Alert, Config, ConfigStatus, QueueItem, Tenant
from integrations.runtime.worker import Outcome, claim, run
from integrations.simulators import running_simulators
from tests.factories import MovableClock, make_config
from tests.messaging.conftest import SLUG, Account

D = Decimal


def items() -> list[tuple[int, str]]:
    found = QueueItem.unscoped.filter(kind="balance.read", state="pending").order_by("id")
    return [(item.config_id or 0, item.payload["channel"]) for item in found]


def answered() -> list[Outcome]:
    return [run(item) for item in claim(20, kinds=["balance.read"])]


def open_alerts() -> list[str]:
    rows = Alert.objects.filter(kind="low_balance", resolved_at=None)
    return [row.message for row in rows]


def test_accounts_without_a_balance_are_not_asked(school: Account, studio: Account) -> None:
    mail = make_config(school.tenant, "sendgrid", account="school")
    make_config(school.tenant, "smtp", account="school")
    make_config(school.tenant, "mpesa", account="school")
    both = make_config(school.tenant, "twilio", account="school")
    off = make_config(school.tenant, "twilio", account="studio")
    Config.unscoped.filter(pk=off.pk).update(is_active=False)
    asked = [(school.config.pk, "sms"), (studio.config.pk, "sms"), (mail.pk, "email")]
    asked += [(both.pk, channel.value) for channel in channels_with_balance("twilio")]
    with scopes_disabled():  # as the schedule runs it
        assert ask_all() == len(asked)
    assert sorted(items()) == sorted(asked)
    assert channels_with_balance("smtp") == channels_with_balance("nobody") == []
    with scopes_disabled():
        ask_all()
    assert len(items()) == len(asked), "a question that waits is not asked twice"


def test_a_tenant_that_is_gone_is_left_alone(school: Account) -> None:
    Tenant.objects.filter(pk=school.tenant.pk).update(is_active=False)
    assert ask_all() == 0


@pytest.mark.django_db(transaction=True)
def test_the_answer_is_kept_and_renewed(school: Account, clock: MovableClock) -> None:
    ask_all()
    assert [outcome.state for outcome in answered()] == ["completed"]
    reading = BalanceReading.objects.get()
    assert (reading.config, reading.channel, reading.amount, reading.currency) == (school.config, "sms", D("1785.5"), "KES")
    assert reading.at == clock.moment
    clock.advance(3600)
    ask_all()
    answered()
    assert BalanceReading.objects.get().at == clock.moment


@pytest.mark.django_db(transaction=True)
def test_keys_that_may_not_read_the_balance_do_not_break_the_account(school: Account) -> None:
    school.config.set_secrets({"api_key": "refused-by-the-provider"})
    school.config.save()
    ask_all()
    assert [outcome.state for outcome in answered()] == ["failed"]
    school.config.refresh_from_db()
    assert school.config.status != ConfigStatus.NEEDS_ATTENTION
    assert not Alert.objects.exists()
    assert not BalanceReading.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_provider_that_is_down_is_asked_by_one_item_and_without_alerts(
    school: Account, simulator: running_simulators, clock: MovableClock
) -> None:
    body = {"operation": "balance", "fault": "error_500", "times": -1}
    requests.post(f"{simulator.url}/control/{SLUG}/faults", json=body, timeout=10).raise_for_status()
    for _ in range(5):
        ask_all()
        answered()
        clock.advance(3600)
    assert QueueItem.unscoped.filter(kind="balance.read").count() == 1
    assert not Alert.objects.filter(kind="queue_item_failed").exists()


@pytest.mark.django_db(transaction=True)
def test_an_account_that_was_switched_off_meanwhile_is_not_asked(school: Account) -> None:
    ask_all()
    Config.objects.update(is_active=False)
    assert [outcome.state for outcome in answered()] == ["completed"]
    assert not BalanceReading.objects.exists()


def test_little_raises_one_alert_and_more_ends_it(school: Account) -> None:
    SendingPolicy.objects.create(tenant=school.tenant, channel="sms", currency="KES", low_balance=D(100))
    for amount, alerts in (("100", 0), ("99.99", 1), ("50", 1), ("100.01", 0), ("-3", 1)):
        store(school.config, Channel.SMS, Balance(D(amount), "KES"))
        assert len(open_alerts()) == alerts, amount
    assert open_alerts() == ["-3 KES left, less than 100.00."]


@pytest.mark.parametrize(
    ("policy", "balance", "warned"),
    [
        ({"currency": "KES", "low_balance": 100}, Balance(D(5), "USD"), False),
        ({"currency": "", "low_balance": 100}, Balance(D(5), "USD"), False),
        ({"currency": "KES", "low_balance": None}, Balance(D(5), "KES"), False),
        ({"currency": "KES", "low_balance": 100}, Balance(D(5), "", "e-mails"), True),
        ({"currency": "", "low_balance": 100}, Balance(D(100), "", "e-mails"), False),
    ],
)
def test_only_what_can_be_compared_is(school: Account, policy: dict[str, object], balance: Balance, warned: bool) -> None:
    SendingPolicy.objects.create(tenant=school.tenant, channel="sms", **policy)
    store(school.config, Channel.SMS, balance)
    assert bool(open_alerts()) is warned
    reading = BalanceReading.objects.get()
    assert (reading.amount, reading.currency, reading.unit) == (balance.amount, balance.currency, balance.unit)


def test_another_channels_limit_or_another_tenants_says_nothing(school: Account, studio: Account) -> None:
    SendingPolicy.objects.create(tenant=school.tenant, channel="email", currency="KES", low_balance=D(100))
    with scope(tenant=studio.tenant):
        SendingPolicy.objects.create(tenant=studio.tenant, channel="sms", currency="KES", low_balance=D(100))
    store(school.config, Channel.SMS, Balance(D(5), "KES"))
    assert open_alerts() == []
