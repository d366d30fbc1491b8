"""The simulated PayPal: orders, payments, vault, disputes, signed webhooks, and the payer's pages."""

from integrations.providers.paypal.simulator.fake import PaypalSimulator

__all__ = ["PaypalSimulator"]
