"""What the hub leaves in a message's `custom_args` to find its recipients again. SendGrid shows and keeps them for good, so
they hold no personal data: our own refs, and for envelopes with several recipients a short tag that tells which ref is whose.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from integrations.contracts.messaging import Target

REF, REFS = "hub_ref", "hub_refs"
REF_FORM = r"[0-9a-z_]{1,64}"
ARGS_LIMIT = 9_000
"""Bytes of notes for one envelope; SendGrid takes 10,000 with names and punctuation."""


def wire_address(address: str) -> str:
    """Return the address as SendGrid takes it: a domain with other than ASCII letters in its ASCII form."""
    local, at, domain = address.strip().rpartition("@")
    if not at or domain.isascii():
        return address.strip()
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return address.strip()


def same_address(address: str) -> str:
    """Return what two spellings of one address have in common."""
    return wire_address(address).lower()


def args_for(recipients: Sequence[Target]) -> dict[str, str]:
    """Return the notes for one envelope. Recipients whose tag finds no room are found by SendGrid's own id alone."""
    known = [target for target in recipients if target.ref]
    if not known:
        return {}
    if len(recipients) == 1:
        return {REF: known[0].ref}
    entries, size = [], 0
    for target in known:
        entry = f"{target.ref}.{_tag(target.ref, target.address)}"
        size += len(entry) + 1
        if size > ARGS_LIMIT:
            break
        entries.append(entry)
    return {REFS: " ".join(entries)}


def ref_for(args: Mapping[str, Any], address: str) -> str:
    """Return the ref of the recipient with this address, '' where the notes name none."""
    single, several = args.get(REF), args.get(REFS)
    if isinstance(single, str) and re.fullmatch(REF_FORM, single):
        return single
    if isinstance(several, str) and len(several) <= ARGS_LIMIT:
        for entry in several.split(" "):
            ref, _dot, tag = entry.partition(".")
            if re.fullmatch(REF_FORM, ref) and tag == _tag(ref, address):
                return ref
    return ""


def _tag(ref: str, address: str) -> str:
    # Salted with the ref: the same address has another tag in each message.
    return hashlib.sha256(f"{ref}\0{same_address(address)}".encode()).hexdigest()[:8]
