"""What a source may be told, checked for API and page alike. A bad setting raises `InvalidRequest` naming it."""

from __future__ import annotations

import base64
import ipaddress
import re
import secrets as random
from collections.abc import Iterable, Mapping
from typing import Any

from integrations.contracts.errors import InvalidRequest
from integrations.events import OwnEventAsked, ask
from integrations.secrets import seal
from webhooks.inbound.generic import handshakes, paths, schemes
from webhooks.inbound.models import Scheme

MASK = "••••"
MAX_TOLERANCE = 12 * 3600
"""Seconds. What proves that a signed time was not seen before is kept for a day, which must outlast this on both sides."""
MIN_TOLERANCE = 10
MAX_PATTERNS = 100
MAX_FIELDS = 100
MAX_NETWORKS = 100
SECRET_BYTES = 32
GIVEN = frozenset({Scheme.SLACK, Scheme.ED25519})
"""Schemes whose secret only the sender can make."""

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PATTERN = re.compile(r"[\x21-\x7e]{1,100}")


def scheme(value: str) -> Scheme:
    try:
        return Scheme(value)
    except ValueError:
        raise InvalidRequest(f"Choose one of {', '.join(Scheme.values)}.", attr="scheme") from None


def options(scheme: Scheme, given: Mapping[str, Any], *, tenant_id: int, stored_word: str) -> tuple[dict[str, str], str]:
    """Return the options to store (what differs from nothing) and, apart from them, the sealed `verify_token`. A masked one
    keeps the stored one."""
    known = {**schemes.OPTIONS[scheme], "handshake": "", "verify_token": ""}
    found: dict[str, str] = {}
    for name, value in given.items():
        attr = f"options.{name}"
        if name not in known:
            raise InvalidRequest(f"This scheme takes {', '.join(known)}.", attr=attr)
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
            raise InvalidRequest("Write at most 200 printable characters.", attr=attr)
        if value:
            _check_option(name, value, attr)
            found[name] = value
    if scheme == Scheme.BASIC and not found.get("username"):
        raise InvalidRequest("Name the user.", attr="options.username")
    template = found.get("template", "")
    if "{timestamp}" in template and not found.get("timestamp_header"):
        raise InvalidRequest("Name the header that the time stands in.", attr="options.timestamp_header")
    if template and found.get("timestamp_header") and "{timestamp}" not in template:
        raise InvalidRequest("A time that is not signed proves nothing: write {timestamp} too.", attr="options.template")
    if found.get("handshake") == "meta" and not found.get("verify_token"):
        raise InvalidRequest("Meta's handshake needs a word of your own.", attr="options.verify_token")
    word = found.pop("verify_token", "")
    return found, _sealed_word(word, tenant_id, stored_word) if word else ""


def _check_option(name: str, value: str, attr: str) -> None:
    choices = {"algorithm": schemes.ALGORITHMS, "encoding": schemes.ENCODINGS, "handshake": handshakes.HANDSHAKES}
    if name in choices and value not in choices[name]:
        raise InvalidRequest(f"Choose one of {', '.join(choices[name])}.", attr=attr)
    if name in ("header", "timestamp_header", "header_prefix") and not _HEADER.fullmatch(value):
        raise InvalidRequest("This is no name of a header.", attr=attr)
    if name == "template" and value.count("{body}") != 1:
        raise InvalidRequest("Write {body} once, and {timestamp} where the time stands.", attr=attr)
    if name == "username" and ":" in value:
        raise InvalidRequest("A user name holds no colon.", attr=attr)


def _sealed_word(word: str, tenant_id: int, stored: str) -> str:
    if not word.startswith(MASK):
        return seal(tenant_id, word)
    if not stored:
        raise InvalidRequest("There is no stored word to keep.", attr="options.verify_token")
    return stored


def secret(scheme: Scheme, value: str) -> str:
    """Return the secret to use: the given one, checked, or a fresh one where the sender takes ours."""
    if not value:
        if scheme in GIVEN:
            raise InvalidRequest("Enter what the sender gave you.", attr="secret")
        return new_secret(scheme)
    try:
        if scheme == Scheme.ED25519 or (scheme == Scheme.STANDARD and value.startswith("whpk_")):
            schemes.public_key(value)
            return value
        if scheme == Scheme.STANDARD:
            well_formed = value.startswith("whsec_") and 24 <= len(schemes.decoded(value.removeprefix("whsec_"))) <= 64
            if well_formed:
                return value
    except ValueError:
        well_formed = False
    if scheme in (Scheme.ED25519, Scheme.STANDARD):
        form = "the public key, as hex or base64" if scheme == Scheme.ED25519 else "whsec_ or whpk_ and a key as base64"
        raise InvalidRequest(f"Write {form}.", attr="secret")
    if not 8 <= len(value) <= 500 or not value.isprintable() or value != value.strip():
        raise InvalidRequest("Write 8 to 500 printable characters.", attr="secret")
    return value


def new_secret(scheme: Scheme) -> str:
    raw = random.token_bytes(SECRET_BYTES)
    if scheme == Scheme.STANDARD:
        return "whsec_" + base64.b64encode(raw).decode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def tolerance(value: int) -> int:
    if not MIN_TOLERANCE <= value <= MAX_TOLERANCE:
        raise InvalidRequest(f"Choose {MIN_TOLERANCE} to {MAX_TOLERANCE} seconds.", attr="tolerance")
    return value


def patterns(values: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(values))
    if len(found) > MAX_PATTERNS or not all(_PATTERN.fullmatch(each) and "[" not in each for each in found):
        raise InvalidRequest("Write source types, * for any part; at most 100.", attr="events")
    return found


def path(value: str, attr: str) -> str:
    if value and not paths.is_path(value):
        raise InvalidRequest("Write header:X-Event-Id or body:data.id.", attr=attr)
    return value


def event_types(values: Mapping[str, Any], *, tenant_id: int) -> dict[str, str]:
    if len(values) > MAX_PATTERNS:
        raise InvalidRequest(f"At most {MAX_PATTERNS} types.", attr="event_types")
    for said, target in values.items():
        if not isinstance(target, str) or not said or len(said) > 100 or not said.isprintable():
            raise InvalidRequest("Write source type and event type as text.", attr="event_types")
        if refusal := ask(OwnEventAsked(tenant_id=tenant_id, type=target)):
            raise InvalidRequest(f"{target[:100]!r}: {refusal}", attr="event_types")
    return dict(values)


def fields(values: Mapping[str, Any]) -> dict[str, str]:
    if len(values) > MAX_FIELDS:
        raise InvalidRequest(f"At most {MAX_FIELDS} members.", attr="fields")
    for member, source in values.items():
        if not paths.is_member(member):
            raise InvalidRequest(f"{member[:50]!r} can't name a member of the event's object.", attr="fields")
        if not isinstance(source, str) or len(source) > 500 or not source.isprintable() or not paths.is_source(source):
            raise InvalidRequest(f"{member}: write a path such as data.id, or =text.", attr="fields")
    inside = [member for member in values for other in values if member.startswith(f"{other}.")]
    if inside:
        raise InvalidRequest(f"{inside[0]} lies within another member.", attr="fields")
    return dict(values)


def networks(values: Iterable[str]) -> list[str]:
    found = []
    for value in values:
        try:
            found.append(str(ipaddress.ip_network(value.strip(), strict=False)))
        except ValueError:
            raise InvalidRequest(f"{value[:50]!r} is no address or network.", attr="allowed_ips") from None
    if len(found) > MAX_NETWORKS:
        raise InvalidRequest(f"At most {MAX_NETWORKS} networks.", attr="allowed_ips")
    return list(dict.fromkeys(found))
