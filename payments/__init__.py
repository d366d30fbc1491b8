"""Payments over any gateway: one model, one transition table, one API."""
