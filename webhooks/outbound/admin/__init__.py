"""The console's pages of outbound webhooks."""

from webhooks.outbound.admin import deliveries, endpoints, event_types, events, portal_links, replays, retention

__all__ = ["deliveries", "endpoints", "event_types", "events", "portal_links", "replays", "retention"]
