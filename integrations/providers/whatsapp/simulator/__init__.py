"""A fake of the WhatsApp Business Cloud API with the duties of the provider sheet; magic values are in `magic.py`."""

from integrations.providers.whatsapp.simulator.fake import WhatsAppSimulator

__all__ = ["WhatsAppSimulator"]
