"""Stripe's documented test cards (docs.stripe.com/testing, November 2026) and what each does here."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.simulators import Magic

DECLINED = "Your card was declined."


@dataclass(frozen=True, slots=True)
class TestCard:
    """A card by its alias `pm_card_...`. `decline` is (code, decline_code, message); with `attaches` it is stored all the same.

    `authentication`: `always`, or `unless_stored` (a card that was set up once needs it no more).
    """

    alias: str
    last4: str
    effect: str
    brand: str = "visa"
    decline: tuple[str, str, str] | None = None
    attaches: bool = True
    authentication: str = ""
    dispute: str = ""
    refund: str = ""


def _declined(alias: str, last4: str, code: str, decline: str, message: str = DECLINED, *, attaches: bool = False) -> TestCard:
    said = f"{code}/{decline}" if decline else code
    effect = f"is stored, a charge is declined: {said}" if attaches else f"declined: {said}"
    return TestCard(alias, last4, effect, decline=(code, decline, message), attaches=attaches)


FUNDS = "Your card has insufficient funds."
CARDS = {
    card.alias: card
    for card in (
        TestCard("pm_card_visa", "4242", "succeeds"),
        TestCard("pm_card_mastercard", "4444", "succeeds", brand="mastercard"),
        TestCard("pm_card_amex", "8431", "succeeds", brand="amex"),
        TestCard("pm_card_bypassPending", "0077", "succeeds"),
        _declined("pm_card_chargeDeclined", "0002", "card_declined", "generic_decline"),
        _declined("pm_card_visa_chargeDeclined", "0002", "card_declined", "generic_decline"),
        _declined("pm_card_chargeDeclinedInsufficientFunds", "9995", "card_declined", "insufficient_funds", FUNDS),
        _declined("pm_card_chargeDeclinedLostCard", "9987", "card_declined", "lost_card"),
        _declined("pm_card_chargeDeclinedStolenCard", "9979", "card_declined", "stolen_card"),
        _declined("pm_card_chargeDeclinedFraudulent", "0019", "card_declined", "fraudulent"),
        _declined("pm_card_chargeDeclinedExpiredCard", "0069", "expired_card", "", "Your card has expired."),
        _declined("pm_card_chargeDeclinedIncorrectCvc", "0127", "incorrect_cvc", "", "Your card's security code is incorrect."),
        _declined(
            "pm_card_chargeDeclinedProcessingError", "0119", "processing_error", "",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
        _declined("pm_card_chargeCustomerFail", "0341", "card_declined", "generic_decline", attaches=True),
        TestCard("pm_card_authenticationRequired", "3184", "3-D Secure each time; off session: authentication_required",
                 authentication="always"),
        TestCard("pm_card_threeDSecure2Required", "3220", "3-D Secure each time", authentication="always"),
        TestCard("pm_card_authenticationRequiredOnSetup", "3155", "3-D Secure unless the card was stored before",
                 authentication="unless_stored"),
        TestCard("pm_card_createDispute", "0259", "succeeds, then is disputed", dispute="dispute"),
        TestCard("pm_card_createDisputeInquiry", "1976", "succeeds, then an inquiry is opened", dispute="inquiry"),
        TestCard("pm_card_refundFail", "5126", "succeeds; a refund succeeds and fails later", refund="fail"),
        TestCard("pm_card_pendingRefund", "7726", "succeeds; a refund is pending first", refund="pending"),
    )
}  # fmt: skip

MAGIC = tuple(Magic(card.alias, card.effect) for card in CARDS.values())


def card_of(token: str) -> TestCard | None:
    """Return the card that an alias (`pm_card_visa`) stands for."""
    return CARDS.get(token)
