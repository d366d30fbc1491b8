"""A fake of Flutterwave's v3 API with the duties of the provider sheet; magic values are listed in `magic.py`."""

from integrations.providers.flutterwave.simulator.fake import FlutterwaveSimulator

__all__ = ["FlutterwaveSimulator"]
