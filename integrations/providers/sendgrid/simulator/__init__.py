"""A fake of SendGrid's Web API v3: sending, events, suppression lists, Event Webhook settings."""

from integrations.providers.sendgrid.simulator.fake import SendGridSimulator

__all__ = ["SendGridSimulator"]
