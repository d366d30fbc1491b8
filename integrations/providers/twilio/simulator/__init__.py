"""A fake of Twilio's Messages resource with the duties of the provider sheet; magic numbers are listed in `rules.py`."""

from integrations.providers.twilio.simulator.fake import TwilioSimulator

__all__ = ["TwilioSimulator"]
