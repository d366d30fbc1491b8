"""A fake of Mailgun: messages, events, suppression lists, domains, webhooks."""

from integrations.providers.mailgun.simulator.fake import MailgunSimulator

__all__ = ["MailgunSimulator"]
