"""The simulator is at least as strict as the real API, and its refunds move money as they should."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests

from integrations.contracts.errors import OutcomeUnknown
from integrations.contracts.money import Money
from integrations.contracts.payment import GatewayTransaction, RefundState, TransactionKind, TransactionsQuery
from integrations.contracts.payment_features import MethodType
from integrations.providers.flutterwave.simulator.checkout import payload_hash
from integrations.providers.flutterwave.tests.hub import Hub
from integrations.providers.flutterwave.tests.support import KES_1500, PAYMENT, REFUND, refund

KES_500 = Money(50_000, "KES")
PAGE: dict[str, Any] = {
    "tx_ref": "HUB-000123",
    "amount": "1500",
    "currency": "KES",
    "redirect_url": "https://hub.example.com/return/flutterwave",
    "payment_options": "card,mpesa",
    "customer": {"email": "jane@example.com"},
}
CHARGE: dict[str, Any] = {
    "tx_ref": "HUB-000123",
    "amount": 1500,
    "currency": "KES",
    "email": "jane@example.com",
    "phone_number": "254712345678",
}


def call(hub: Hub, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
    token = hub.account.secrets["secret_key"] if key is None else key
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.request(method, f"{hub.running.url}/flutterwave{path}", json=body, headers=headers, timeout=5)
    return answer.status_code, answer.json()


def paid(hub: Hub) -> None:
    hub.page()
    hub.payer("approve")


# --- strictness


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "Authorization required"),
        ("FLWSECK_TEST-no-X", "Invalid authorization key"),
        ("FLWSECK-1-X", "Invalid authorization key"),
    ],
)
def test_keys(school: Hub, key: str, message: str) -> None:
    for method, path in (("GET", "/v3/transactions"), ("POST", "/v3/payments"), ("GET", "/v3/refunds")):
        assert call(school, method, path, key=key) == (401, {"status": "error", "message": message, "data": None})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tx_ref": ""}, "tx_ref is required"),
        ({"tx_ref": "x" * 101}, "tx_ref is invalid"),
        ({"amount": None}, "amount is required"),
        ({"amount": 0}, "amount is invalid"),
        ({"amount": "x"}, "amount must be a number"),
        ({"amount": 1500.555}, "amount is invalid"),
        ({"currency": "JPY"}, "JPY is currently not supported for this account"),
        ({"redirect_url": "x"}, "redirect_url must be a valid url"),
        ({"customer": None}, "customer is required"),
        ({"customer": {"name": "Jane"}}, "email is required"),
        ({"payment_options": "card,cash"}, "payment_options is invalid"),
        ({"session_duration": 1441}, "session_duration is invalid"),
        ({"meta": {"a-b": 1}}, "meta is invalid"),
        ({"payload_hash": "0" * 64}, "payload_hash is invalid"),
        ({"colour": "red"}, '"colour" is not allowed'),
    ],
)
def test_pages_that_are_refused(school: Hub, changed: dict[str, Any], message: str) -> None:
    assert call(school, "POST", "/v3/payments", PAGE | changed) == (400, {"status": "error", "message": message, "data": None})
    assert school.money() == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"amount": "1500"}, "amount must be a number"),
        ({"amount": 1500.5}, "amount must be a whole number"),
        ({"currency": "UGX"}, "currency is invalid"),
        ({"currency": None}, "currency is invalid"),
        ({"email": "jane"}, "email is invalid"),
        ({"phone_number": "2547 1234"}, "phone_number is invalid"),
        ({"redirect": "x"}, '"redirect" is not allowed'),
    ],
)
def test_charges_that_are_refused(school: Hub, changed: dict[str, Any], message: str) -> None:
    found = call(school, "POST", "/v3/charges?type=mpesa", CHARGE | changed)
    assert found == (400, {"status": "error", "message": message, "data": None})
    assert school.money() == []


def test_the_checksum_of_a_page() -> None:
    parts = ("1500", "KES", "jane@example.com", "HUB-000123", "FLWSECK_TEST-SANDBOXDEMOKEY-X")
    assert payload_hash(*parts) == "21fd02a4072fd05a198bb463df379dde0bb7d271d73abf57a2eee3dab3abc491"


def test_a_page_with_the_right_checksum_is_taken(school: Hub) -> None:
    checksum = payload_hash("1500", "KES", "jane@example.com", "HUB-000123", school.account.secrets["secret_key"])
    status, body = call(school, "POST", "/v3/payments", PAGE | {"payload_hash": checksum})
    assert (status, body["status"]) == (200, "success")


def test_a_forgotten_currency_is_naira(school: Hub) -> None:
    call(school, "POST", "/v3/payments", {name: value for name, value in PAGE.items() if name != "currency"})
    (row,) = school.control("GET", "/flutterwave/money")["payments"]
    assert (row["currency"], row["payment_id"], row["captured"]) == ("NGN", "HUB-000123", 0)


def test_the_fee(school: Hub) -> None:
    _status, body = call(school, "GET", "/v3/transactions/fee?amount=1500&currency=KES")
    assert body["data"] == {
        "charge_amount": 1500,
        "fee": 43.5,
        "merchant_fee": 0,
        "flutterwave_fee": 43.5,
        "stamp_duty_fee": 0,
        "currency": "KES",
    }


@pytest.mark.parametrize("action", ["capture", "void", "dispute", "dispute_won", "dispute_lost", "explode"])
def test_what_the_dashboard_has_not(school: Hub, action: str) -> None:
    paid(school)
    school.dashboard(action, status=400)
    assert school.money() == [(PAYMENT, 150_000, 150_000, 0)]


def test_who_is_not_known(school: Hub) -> None:
    school.dashboard("refund", ref="pay_other", status=404)
    school.control("POST", "/flutterwave/payer", {"ref": "pay_other", "action": "approve"}, 404)
    school.control("PUT", "/flutterwave/accounts/nobody", {}, 404)
    school.control("PUT", "/flutterwave/accounts/school", {"signature": "ink"}, 400)
    school.control("PUT", "/flutterwave/accounts/school", {"webhook_retries": "yes"}, 400)


# --- refunds


def test_partial_refunds_until_nothing_is_left(school: Hub) -> None:
    paid(school)
    number = (school.status().captures or ())[0].provider_ref
    made = [school.adapter().refund(refund(capture_ref=number, refund_id=f"re_{n}")) for n in (1, 2, 3)]
    assert [(each.state, each.money) for each in made] == [(RefundState.SUCCEEDED, KES_500)] * 3
    refused = school.adapter().refund(refund(capture_ref=number, refund_id="re_4"))
    assert refused.failure is not None
    assert (refused.state, refused.failure.code) == (RefundState.FAILED, "already_refunded")
    facts = school.status().refunds
    assert facts is not None
    assert [(each.provider_ref, each.operation_id) for each in facts] == [
        (each.provider_ref, f"re_{n}") for n, each in enumerate(made, 1)
    ]
    assert school.money() == [(PAYMENT, 150_000, 150_000, 150_000)]
    assert [each.provider_event_type for each in school.touched(4)].count("refund.completed") == 3


def test_more_than_was_paid_and_more_than_the_balance_are_refused(school: Hub) -> None:
    paid(school)
    too_much = school.adapter().refund(refund(capture_ref="4193428", money=Money(150_100, "KES")))
    school.control("PUT", "/flutterwave/accounts/school", {"balances": {"KES": 49_999}})
    too_poor = school.adapter().refund(refund(capture_ref="4193428"))
    codes = [each.failure.code if each.failure else "" for each in (too_much, too_poor)]
    assert codes == ["refund_declined", "merchant_balance_low"]
    assert school.money() == [(PAYMENT, 150_000, 150_000, 0)]


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after", "error_503_after"])
def test_a_lost_refund_is_found_by_its_comment_and_made_once(school: Hub, fault: str) -> None:
    paid(school)
    school.fault("refund", fault)
    asked = refund(capture_ref="4193428", asked_at=school.now())
    with pytest.raises(OutcomeUnknown):
        school.adapter().refund(asked)
    found = school.adapter().refund_status(asked)
    assert (found.state, found.provider_ref, found.money) == (RefundState.SUCCEEDED, "75923", KES_500)
    assert school.money() == [(PAYMENT, 150_000, 150_000, 50_000)]
    assert school.asked("refund") == 1


def test_a_lost_refund_whose_comment_is_not_given_back_stays_unknown(school: Hub) -> None:
    school.control("PUT", "/flutterwave/settings", {"refund_comments": False})
    paid(school)
    school.fault("refund", "drop_after_accept")
    asked = refund(capture_ref="4193428", asked_at=school.now())
    with pytest.raises(OutcomeUnknown):
        school.adapter().refund(asked)
    assert school.adapter().refund_status(asked).state is RefundState.UNKNOWN
    assert [(each.provider_ref, each.operation_id) for each in school.status().refunds or ()] == [("75923", "")]


def test_a_refund_that_never_arrived_is_not_found(school: Hub) -> None:
    paid(school)
    school.fault("refund", "error_500")
    asked = refund(capture_ref="4193428", asked_at=school.now())
    with pytest.raises(OutcomeUnknown):
        school.adapter().refund(asked)
    assert school.adapter().refund_status(asked).state is RefundState.UNKNOWN
    assert school.money() == [(PAYMENT, 150_000, 150_000, 0)]


def test_a_refund_by_hand_shows_in_the_snapshot(school: Hub) -> None:
    paid(school)
    school.dashboard("refund", amount=30_000, reason="by hand")
    school.dashboard("refund")
    school.dashboard("refund", status=400)
    facts = school.status().refunds
    assert facts is not None
    assert [(each.money, each.state, each.operation_id) for each in facts] == [
        (Money(30_000, "KES"), RefundState.SUCCEEDED, ""),
        (Money(120_000, "KES"), RefundState.SUCCEEDED, ""),
    ]
    assert {each.refs for each in school.touched(3)} == {(PAYMENT, "4193428"), ("4193428",)}


def test_a_refund_that_fails_later_gives_the_money_back_to_the_merchant(school: Hub) -> None:
    paid(school)
    school.adapter().refund(refund(capture_ref="4193428"))
    assert school.dashboard("fail_refund") == {"refund": 75923, "status": "failed"}
    (fact,) = school.status().refunds or ()
    assert (fact.state, fact.operation_id) == (RefundState.FAILED, REFUND)
    assert fact.failure is not None
    assert school.money() == [(PAYMENT, 150_000, 150_000, 0)]
    school.dashboard("fail_refund", status=400)


def test_a_pending_refund_settles(school: Hub) -> None:
    school.control("PUT", "/flutterwave/settings", {"refund_status": "new"})
    paid(school)
    made = school.adapter().refund(refund(capture_ref="4193428"))
    assert made.state is RefundState.PROCESSING
    school.dashboard("settle_refund")
    asked = refund(capture_ref="4193428", provider_ref=made.provider_ref)
    assert school.adapter().refund_status(asked).state is RefundState.SUCCEEDED
    school.dashboard("settle_refund", status=400)


# --- lists


@pytest.mark.parametrize("heeds", [True, False])
def test_refunds_are_found_among_many_pages_of_others(school: Hub, heeds: bool) -> None:
    school.control("PUT", "/flutterwave/settings", {"refund_list_heeds_days": heeds})
    paid(school)
    school.adapter().refund(refund(capture_ref="4193428"))
    school.page(payment_id="pay_other")
    school.payer("approve", ref="pay_other")
    for _ in range(25):
        school.dashboard("refund", ref="pay_other", amount=100)
    facts = school.status().refunds
    assert facts is not None
    assert [each.operation_id for each in facts] == [REFUND]


def test_the_books_page_by_page(school: Hub) -> None:
    since = school.now() - timedelta(minutes=1)
    for number in range(12):
        school.page(payment_id=f"pay_{number}")
        school.payer("approve" if number else "fail", ref=f"pay_{number}")
    school.dashboard("refund", ref="pay_5", amount=30_000)
    school.clock.advance(3600)
    until = school.now()
    school.page(payment_id="pay_late")
    school.payer("approve", ref="pay_late")
    found: list[GatewayTransaction] = []
    cursor = ""
    while True:
        page = school.adapter().transactions(TransactionsQuery(since, until, cursor))
        found += page.transactions
        cursor = page.cursor
        if not cursor:
            break
    charges = [each for each in found if each.kind is TransactionKind.CHARGE]
    assert [each.payment_id for each in charges] == [f"pay_{number}" for number in range(11, 0, -1)]
    assert {(each.money, each.fee, each.net) for each in charges} == {(KES_1500, Money(4350, "KES"), Money(145_650, "KES"))}
    (line,) = [each for each in found if each.kind is TransactionKind.REFUND]
    assert (line.money, line.payment_id) == (Money(30_000, "KES"), "pay_5")


def test_prompts_of_both_merchants_are_on_the_phone(school: Hub, studio: Hub) -> None:
    school.prompt()
    studio.prompt(payment_id="pay_studio")
    prompts = school.control("GET", "/phone/prompts?msisdn=254712345678")
    assert {(each["merchant"], each["account"]) for each in prompts} == {
        ("Demo School", PAYMENT),
        ("Demo Studio", "pay_studio"),
    }
    studio.payer("approve", ref="pay_studio")
    assert studio.status(MethodType.MOBILE_MONEY, payment_id="pay_studio", provider_ref="pay_studio").money == KES_1500
