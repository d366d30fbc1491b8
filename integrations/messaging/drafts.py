"""What is asked to be sent, before it is a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from integrations.contracts.messaging import Media


@dataclass(frozen=True, slots=True)
class Destination:
    """One recipient: `address` as its channel writes it (E.164, e-mail address, device token). `data` fills in a personal
    message; `alternatives` maps other channels to his address there, for the fallback. `role` and `envelope` say where he
    stands in an e-mail. `instead_of` is the recipient (of another message) in whose place he gets this one."""

    address: str
    name: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    alternatives: Mapping[str, str] = field(default_factory=dict)
    role: str = ""
    envelope: int = 0
    device_id: int | None = None
    instead_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message to be accepted; its channel's own service has checked what only that channel knows.

    `personal`: `body`, `subject` and `html` are templates to be filled in with `data` and each recipient's own. `content` is
    kept with the message for its channel's job. `reference` is (type, id) of what it is about. Times are aware.
    """

    channel: str
    body: str = ""
    subject: str = ""
    html: str = ""
    sender: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)
    personal: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
    template_name: str = ""
    language: str = ""
    segments: int = 0
    encoding: str = ""
    provider: str | None = None
    config_id: int | None = None
    reference: tuple[str, str] = ("", "")
    category: str = ""
    send_at: datetime | None = None
    expires_at: datetime | None = None
    key: str = ""
    created_by: str = ""
    override_reason: str = ""
    attachments: tuple[Media, ...] = ()
    continues_id: str | None = None
    step: int = 0
