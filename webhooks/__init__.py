"""Webhooks: `inbound` takes what providers report, `outbound` tells the tenants' own systems."""
