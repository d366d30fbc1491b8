"""Webhooks in: one inbox for all providers. Verified, stored and acknowledged at once; worked off by the queue."""
