"""Admin pages of the core tables. Features keep their own `admin.py`."""

from django.contrib import admin

from integrations.admin import audit, breakers, keys, logs, operations, people, providers, queue, retention

admin.site.index_title = "Overview"

__all__ = ["audit", "breakers", "keys", "logs", "operations", "people", "providers", "queue", "retention"]
