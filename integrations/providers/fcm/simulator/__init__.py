"""A fake of Firebase Cloud Messaging: token endpoint, send, topics."""

from integrations.providers.fcm.simulator.fake import FcmSimulator

__all__ = ["FcmSimulator"]
