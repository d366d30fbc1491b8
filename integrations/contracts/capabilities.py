"""The capabilities a provider may have, and the categories the API lists them under."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    PAYMENT = "payment"
    SMS = "sms"
    EMAIL = "email"
    PUSH = "push"
    WHATSAPP = "whatsapp"
    STORAGE = "storage"
    LMS = "lms"
    LAB = "lab"
    COMMERCE = "commerce"
    CALENDAR = "calendar"
    CRM = "crm"


class Environment(StrEnum):
    """`production`, the provider's own test system (`sandbox`), or our fake of it (`simulator`)."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"
    SIMULATOR = "simulator"
