"""A fake of Safaricom's Daraja API with the duties of the provider sheet; magic numbers are listed in `magic.py`."""

from integrations.providers.mpesa.simulator.fake import MpesaSimulator

__all__ = ["MpesaSimulator"]
