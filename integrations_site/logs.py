"""Structured logs: one JSON object a line (or coloured text), each with the request id, secrets masked by value and key."""

from __future__ import annotations

import logging.config
from typing import Any

import structlog

from integrations.http.masking import mask_log_event
from integrations_site.private_paths import mask_payer_pages


def configure(options: dict[str, Any]) -> None:
    """Configure stdlib logging and structlog alike; `options` is settings.LOGGING: level, and format `json` or `text`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer = structlog.processors.JSONRenderer() if options["format"] == "json" else structlog.dev.ConsoleRenderer()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "hub": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.format_exc_info,
                        mask_log_event,
                        mask_payer_pages,
                        renderer,
                    ],
                }
            },
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "hub"}},
            "root": {"handlers": ["console"], "level": options["level"]},
            "loggers": {"django.server": {"level": "WARNING"}, "django-q": {"level": options["level"], "propagate": True}},
        }
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
