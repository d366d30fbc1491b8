"""The Graph API's answers: errors in Meta's shape, and the files' parts of a multipart body."""

from __future__ import annotations

import re
import secrets
from typing import Any, NoReturn

from integrations.simulators import Refusal, SimReply


def error(status: int, code: int, message: str, *, details: str = "", kind: str = "OAuthException", sub: int = 0) -> SimReply:
    """Return an error answer."""
    said: dict[str, Any] = {"message": f"(#{code}) {message}" if code else message, "type": kind, "code": code}
    if details:
        said["error_data"] = {"messaging_product": "whatsapp", "details": details}
    if sub:
        said["error_subcode"] = sub
    return SimReply.of_json({"error": {**said, "fbtrace_id": f"A{secrets.token_urlsafe(15)}"}}, status)


def failure(status: int) -> SimReply:
    """Return the Graph API's answer to an unknown path, a wrong method, too many calls, or its own failure."""
    match status:
        case 404 | 405:
            return error(400, 2500, "Unknown path components")
        case 429:
            return error(429, 80007, "Business request limit reached for WhatsApp Business Account")
        case _:
            # Says nothing about whether the message went out, as Meta's own does.
            return error(status, 1, "An unknown error occurred")


def refuse(status: int, code: int, message: str, details: str = "") -> NoReturn:
    """End the request with an error answer; nothing that it did stays."""
    raise Refusal(error(status, code, message, details=details))


def unknown_object(node: str) -> NoReturn:
    """End the request as Meta does for an id that does not exist, or that the token may not see."""
    text = (
        f"Unsupported request. Object with ID '{node}' does not exist, cannot be loaded due to missing permissions, or does "
        "not support this operation."
    )
    raise Refusal(error(400, 100, text, kind="GraphMethodException", sub=33))


def multipart(content_type: str, body: bytes) -> dict[str, tuple[str, str, bytes]]:
    """Return a multipart body's fields as name -> (file name, content type, content); ValueError if it is none."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise ValueError("the body is not multipart/form-data")
    parts = body.split(b"--" + found[1].encode())
    if len(parts) < 3 or not parts[-1].startswith(b"--"):
        raise ValueError("the body does not end")
    fields: dict[str, tuple[str, str, bytes]] = {}
    for part in parts[1:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        text = head.decode("utf-8")
        name = re.search(r'[; ]name="([^"]*)"', text)
        if not separator or name is None:
            raise ValueError("a part has no name")
        filename, kind = re.search(r'filename="([^"]*)"', text), re.search(r"(?im)^content-type: *([^\r\n]+)", text)
        fields[name[1]] = (filename[1] if filename else "", kind[1].strip() if kind else "", content.removesuffix(b"\r\n"))
    return fields
