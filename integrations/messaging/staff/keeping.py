"""What was written and not sent yet, kept between the form and the confirmation.

It lies in a session row of its own, apart from the one that the person's cookie names: attachments are large, and that one is
read with every page. It goes by itself when nobody confirms.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest

from integrations.contracts.messaging import Media
from integrations.messaging.staff.attaching import token_of

KEPT_SECONDS = 4 * 3600
MOST = 10
"""Unsent texts of one session; the oldest make room."""
PLACE = "staff_unsent"


@dataclass(frozen=True, slots=True)
class Unsent:
    """A filled-in form. `fields` are its values as JSON has them; `list_id` names the uploaded list, where it goes to one."""

    id: str
    tenant_id: int
    channel: str
    fields: Mapping[str, Any]
    list_id: str = ""
    files: Sequence[Media] = field(default=(), repr=False)

    @property
    def words_key(self) -> str:
        """How the key of every message begins that this form has become with these words, whatever its files."""
        return f"staff:{self.id}:{_digest([self.channel, self.fields, self.list_id])}:"

    @property
    def key(self) -> str:
        """The message's key: the same form with the same words and files is one message, however often it is sent."""
        return self.words_key + _digest(sorted({token_of(each) for each in self.files}))


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]


def new_id() -> str:
    return uuid.uuid4().hex


def is_id(text: str) -> bool:
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


def keep(request: HttpRequest, unsent: Unsent) -> None:
    """Keep it for `KEPT_SECONDS`, in place of what was kept under the same id."""
    SessionStore.clear_expired()
    places: dict[str, str] = dict(request.session.get(PLACE) or {})
    old = places.pop(unsent.id, "")
    while len(places) >= MOST:
        _drop(places.pop(next(iter(places))))
    # In the same place as before: a second click that looks for it at this moment finds the one or the other.
    store = SessionStore(old or None)
    store["unsent"] = {
        "tenant": unsent.tenant_id,
        "channel": unsent.channel,
        "fields": dict(unsent.fields),
        "list": unsent.list_id,
        "files": [
            {"name": each.filename, "type": each.content_type, "content": base64.b64encode(each.content).decode()}
            for each in unsent.files
        ],
    }
    store.set_expiry(KEPT_SECONDS)
    try:
        store.save()
    except UpdateError:  # it has gone in between
        store.create()
    places[unsent.id] = str(store.session_key)
    request.session[PLACE] = places


def kept(request: HttpRequest, unsent_id: str, *, tenant_id: int, channel: str = "") -> Unsent | None:
    """Return what this person keeps under the id for this tenant (and channel); None where there is nothing (any more)."""
    place = (request.session.get(PLACE) or {}).get(unsent_id)
    found: dict[str, Any] | None = SessionStore(place).get("unsent") if place else None
    if found is None or found["tenant"] != tenant_id or (channel and found["channel"] != channel):
        return None
    files = [Media(each["name"], each["type"], content=base64.b64decode(each["content"])) for each in found["files"]]
    return Unsent(unsent_id, found["tenant"], found["channel"], found["fields"], found["list"], tuple(files))


def _drop(place: str) -> None:
    if place:
        SessionStore(place).delete()
