"""What `/v3/mail/send` refuses, in SendGrid's words where they are known (errors page; others are our own)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from integrations.simulators.wire import Json

MOST, ARGS_BYTES, DAYS_AHEAD = 1000, 10_000, 72 * 3600
ADDRESS = re.compile(r"[^\s@<>,;:\"\\]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
RESERVED = {
    "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to", "from", "subject",
    "reply-to", "cc", "bcc",
}  # fmt: skip
MEMBERS = {
    "personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments", "template_id", "headers",
    "categories", "custom_args", "send_at", "batch_id", "asm", "ip_pool_name", "mail_settings", "tracking_settings",
}  # fmt: skip
PERSONAL_MEMBERS = {
    "from", "to", "cc", "bcc", "subject", "headers", "substitutions", "dynamic_template_data", "custom_args", "send_at",
}  # fmt: skip
HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message."


def problems(mail: Json, now: float) -> list[Json]:
    """Return the `errors` that this body is refused with; none where it is taken."""
    return [
        {"message": message, "field": field or None, "help": HELP + field.split(".")[0] if field else None}
        for field, message in _problems(mail, now)
    ]


def _problems(mail: Json, now: float) -> Iterator[tuple[str, str]]:
    for name in sorted(set(mail) - MEMBERS):
        yield "", f"Additional property {name} is not allowed"
    yield from _personalizations(mail)
    sender = mail.get("from")
    if not isinstance(sender, dict) or not sender.get("email"):
        yield (
            "from.email",
            "The from object must be provided for every email send. It is an object that requires the email parameter.",
        )
    elif not _valid(sender["email"]):
        yield "from.email", "The from email does not contain a valid address."
    yield from _reply_to(mail)
    yield from _content(mail)
    yield from _attachments(mail.get("attachments"))
    yield from _headers("headers", mail.get("headers"))
    categories = mail.get("categories", [])
    if not isinstance(categories, list) or len(categories) > 10 or len(set(map(str, categories))) != len(categories):
        yield "categories", "You can have up to 10 unique categories."
    elif any(not isinstance(each, str) or len(each) > 255 for each in categories):
        yield "categories", "A category name can't exceed 255 characters."
    if "send_at" in mail and not (isinstance(mail["send_at"], int) and mail["send_at"] <= now + DAYS_AHEAD):
        yield "send_at", "Scheduling more than 72 hours in advance is forbidden."


def _personalizations(mail: Json) -> Iterator[tuple[str, str]]:
    found = mail.get("personalizations")
    if not isinstance(found, list) or not found:
        yield "personalizations", "The personalizations field is required and must have at least one personalization."
        return
    if len(found) > MOST:
        yield "personalizations", "There is a limit of 1000 personalizations per API request."
    total = 0
    for number, each in enumerate(found):
        where = f"personalizations.{number}"
        if not isinstance(each, dict):
            yield where, "A personalization is an object."
            continue
        for name in sorted(set(each) - PERSONAL_MEMBERS):
            yield where, f"Additional property {name} is not allowed"
        if not each.get("to"):
            yield (
                f"{where}.to",
                "The to array is required for all personalization objects, and must have at least one email object.",
            )
        seen: set[str] = set()
        for kind in ("to", "cc", "bcc"):
            for index, target in enumerate(each.get(kind) or []):
                total += 1
                address = target.get("email") if isinstance(target, dict) else None
                if not _valid(address):
                    yield f"{where}.{kind}.{index}.email", "Does not contain a valid address."
                elif str(address).lower() in seen:
                    yield (
                        f"{where}.{kind}",
                        "Each email address in the personalization block should be unique between to, cc, and bcc.",
                    )
                seen.add(str(address).lower())
        args = each.get("custom_args", {})
        if not isinstance(args, dict) or any(not isinstance(value, str) for value in args.values()):
            yield f"{where}.custom_args", "The custom_args parameter must be an object of strings."
        elif sum(len(str(name).encode()) + len(value.encode()) for name, value in args.items()) > ARGS_BYTES:
            yield f"{where}.custom_args", "The custom_args are limited to 10,000 bytes."
        yield from _headers(f"{where}.headers", each.get("headers"))
        template = str(mail.get("template_id") or "")
        if "dynamic_template_data" in each and not template.startswith("d-"):
            yield f"{where}.dynamic_template_data", "dynamic_template_data needs a dynamic template."
        if not (each.get("subject") or mail.get("subject") or template):
            yield (
                "subject",
                "The subject is required. You can get around this requirement if you use a template with a subject defined.",
            )
    if total > MOST >= len(found):
        yield "personalizations", "The total number of recipients must be no more than 1000."


def _reply_to(mail: Json) -> Iterator[tuple[str, str]]:
    one, several = mail.get("reply_to"), mail.get("reply_to_list")
    if one is not None and several is not None:
        yield "reply_to", "Only one of reply_to and reply_to_list may be given."
    if one is not None and not (isinstance(one, dict) and _valid(one.get("email"))):
        yield "reply_to", "The reply_to email does not contain a valid address."
    if several is not None and not all(isinstance(each, dict) and _valid(each.get("email")) for each in several):
        yield "reply_to_list", "A reply_to_list email does not contain a valid address."


def _content(mail: Json) -> Iterator[tuple[str, str]]:
    content = mail.get("content")
    if content is None and mail.get("template_id"):
        return
    if not isinstance(content, list) or not content:
        yield "content", "Unless a valid template_id is provided, the content parameter is required."
        return
    kinds = [each.get("type") if isinstance(each, dict) else None for each in content]
    for number, each in enumerate(content):
        if not isinstance(each, dict) or not each.get("value") or not isinstance(each["value"], str):
            yield f"content.{number}.value", "The content value must be a string at least one character in length."
    if None in kinds or "" in kinds:
        yield "content", "Each content needs a type."
    if "text/plain" in kinds and kinds.index("text/plain") != 0:
        yield "content", "If present, text/plain must be first, followed by text/html, followed by any other content."


def _attachments(found: Any) -> Iterator[tuple[str, str]]:
    for number, each in enumerate(found or []):
        where = f"attachments.{number}"
        try:
            base64.b64decode(each["content"], validate=True)
        except (KeyError, TypeError, ValueError):
            yield f"{where}.content", "The attachment content must be base64 encoded."
            continue
        if not each["content"]:
            yield f"{where}.content", "The attachment content must be a string at least one character in length."
        if not each.get("filename"):
            yield f"{where}.filename", "The filename of the attachment is required."
        if each.get("disposition", "attachment") not in ("attachment", "inline"):
            yield f"{where}.disposition", "The disposition is either inline or attachment."


def _headers(where: str, found: Any) -> Iterator[tuple[str, str]]:
    if found is None:
        return
    if not isinstance(found, dict) or any(not isinstance(value, str) for value in found.values()):
        yield where, "The headers must be an object of strings."
        return
    for name in sorted(found):
        if name.lower() in RESERVED or not re.fullmatch(r"[!-9;-~]+", name):
            yield where, f"The header {name} is reserved or has no valid name."


def _valid(address: Any) -> bool:
    return isinstance(address, str) and len(address) <= 320 and ADDRESS.fullmatch(address) is not None
