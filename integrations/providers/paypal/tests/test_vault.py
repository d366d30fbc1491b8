"""Stored payers: setup, approval, charging without the payer, forgetting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from integrations.contracts.errors import AuthenticationFailed, Undecided, UnsupportedOperation
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState, SetupRequest, StoredMethod
from integrations.contracts.payment_features import MethodType
from integrations.providers.paypal.tests.hub import DAY, Hub, payment


def stored(hub: Hub) -> tuple[SetupRequest, StoredMethod]:
    begun = hub.adapter().setup(hub.setup())
    hub.payer(begun.provider_ref)
    request = hub.setup(provider_ref=begun.provider_ref)
    done = hub.adapter().complete_setup(request)
    assert done.stored is not None
    return request, done.stored


def test_from_page_to_stored_payer(studio: Hub) -> None:
    begun = studio.adapter().setup(studio.setup())
    token = begun.provider_ref
    assert begun.state is PaymentState.REQUIRES_ACTION
    assert begun.next_action == {
        "type": "redirect",
        "url": f"{studio.base_url}/agreements/approve?approval_session_id={token}",
    }
    assert begun.customer_ref
    request = studio.setup(provider_ref=token)
    assert studio.adapter().setup_status(request).state is PaymentState.REQUIRES_ACTION
    early = studio.adapter().complete_setup(request)
    assert (early.state, early.stored) == (PaymentState.REQUIRES_ACTION, None)
    studio.payer(token)
    assert studio.adapter().setup_status(request).state is PaymentState.APPROVED
    done = studio.adapter().complete_setup(request)
    assert done.state is PaymentState.SUCCEEDED
    assert done.stored is not None
    assert (done.stored.customer_ref, done.stored.type, done.stored.brand) == (
        begun.customer_ref,
        MethodType.REDIRECT,
        "PayPal",
    )
    assert done.stored.payer == "amina.otieno@buyer.example.com"
    again = studio.adapter().setup_status(request)
    assert (again.state, again.stored) == (PaymentState.SUCCEEDED, done.stored)


def test_charging_without_the_payer(studio: Hub) -> None:
    _request, method = stored(studio)
    found = studio.adapter().authorize(payment(token=method.token, off_session=True, return_url="", cancel_url=""))
    assert found.state is PaymentState.SUCCEEDED
    assert found.receipt
    (row,) = studio.money()
    assert row["captured"] == 10_000


def test_holding_without_the_payer(studio: Hub) -> None:
    _request, method = stored(studio)
    found = studio.adapter().authorize(payment(token=method.token, off_session=True, capture=False))
    assert (found.state, found.capturable) == (PaymentState.AUTHORIZED, Money(10_000, "USD"))
    assert found.hold_ref


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after", "error_500"])
def test_a_charge_whose_answer_is_lost_is_repeated_once(studio: Hub, fault: str) -> None:
    _request, method = stored(studio)
    request = payment(token=method.token, off_session=True)
    studio.fault("authorize", fault)
    with pytest.raises(Undecided):
        studio.adapter().authorize(request)
    assert studio.adapter().authorize(request).state is PaymentState.SUCCEEDED
    (row,) = studio.money()
    assert row["captured"] == 10_000


def test_a_stored_payer_who_is_declined(studio: Hub) -> None:
    _request, method = stored(studio)
    found = studio.adapter().authorize(payment(10_901, token=method.token, off_session=True))
    assert found.state is PaymentState.FAILED
    assert found.failure is not None
    assert found.failure.provider_code == "INSTRUMENT_DECLINED"
    assert studio.money() == []


def test_a_forgotten_payer_can_not_be_charged(studio: Hub) -> None:
    _request, method = stored(studio)
    studio.adapter().forget(method)
    studio.adapter().forget(method)
    found = studio.adapter().authorize(payment(token=method.token, off_session=True))
    assert found.state is PaymentState.FAILED
    assert found.failure is not None
    assert found.failure.code == "payment_method_unusable"
    assert studio.money() == []


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after"])
def test_a_lost_answer_while_storing(studio: Hub, fault: str) -> None:
    begun = studio.adapter().setup(studio.setup())
    studio.payer(begun.provider_ref)
    request = studio.setup(provider_ref=begun.provider_ref)
    studio.fault("complete_setup", fault)
    with pytest.raises(Undecided):
        studio.adapter().complete_setup(request)
    first = studio.adapter().complete_setup(request)
    assert first.state is PaymentState.SUCCEEDED
    other_key = studio.adapter().complete_setup(replace(request, idempotency_key="seti_9"))
    assert (other_key.state, other_key.stored) == (PaymentState.SUCCEEDED, first.stored)


def test_a_payer_who_never_came(studio: Hub) -> None:
    begun = studio.adapter().setup(studio.setup())
    studio.clock.advance(3 * DAY)
    found = studio.adapter().setup_status(studio.setup(provider_ref=begun.provider_ref))
    assert found.state is PaymentState.EXPIRED
    assert studio.adapter().setup_status(studio.setup()).state is PaymentState.ABSENT


def test_off_unless_switched_on(school: Hub) -> None:
    assert {"setup", "off_session"} & school.adapter().features_for(school.view()).operations == set()
    assert {"setup", "off_session"} <= school.adapter().features_for(school.view(vault=True)).operations
    with pytest.raises(UnsupportedOperation):
        school.adapter().setup(school.setup())
    assert school.asked("setup") == []


def test_switched_on_here_but_not_allowed_there(school: Hub) -> None:
    found = school.adapter(vault=True).setup(school.setup())
    assert found.state is PaymentState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.type) == ("permission_missing", "configuration_error")
    with pytest.raises(AuthenticationFailed):
        school.adapter(vault=True).forget(StoredMethod("abcdefgh12"))
