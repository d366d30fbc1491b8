"""A fake of Pesapal's API 3.0 with its payment page, IPNs and the merchant's dashboard; magic amounts in `magic.py`."""

from integrations.providers.pesapal.simulator.fake import PesapalSimulator

__all__ = ["PesapalSimulator"]
