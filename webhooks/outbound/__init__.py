"""Signed events to the tenants' systems: an event once, a delivery for each subscribed endpoint, an attempt for each try."""
