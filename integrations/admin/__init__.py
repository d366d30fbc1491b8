"""Admin pages of the core tables. Features keep their own `admin.py`."""

from integrations.admin import logs, operations, people, providers, queue

__all__ = ["logs", "operations", "people", "providers", "queue"]
