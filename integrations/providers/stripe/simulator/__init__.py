"""A fake of Stripe's payments API with the duties of the provider sheet; test cards are listed in `cards.py`."""

from integrations.providers.stripe.simulator.fake import StripeSimulator

__all__ = ["StripeSimulator"]
