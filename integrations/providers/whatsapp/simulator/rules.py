"""What Meta checks of a message before it takes it. Refusals are Meta's codes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from integrations.providers.whatsapp.simulator.answers import refuse
from integrations.providers.whatsapp.simulator.magic import PAUSED
from integrations.simulators.wire import Json

FILES = {
    "image": ("image/jpeg", "image/png"),
    "video": ("video/",),
    "audio": ("audio/",),
    "sticker": ("image/webp",),
    "document": ("",),
}
CAPTIONED = {"image", "video", "document"}
KNOWN = {"messaging_product", "recipient_type", "to", "type", "context", "biz_opaque_callback_data"}
FindMedia = Callable[[str], Json | None]


def checked(body: Json, templates: list[Json], media: FindMedia) -> tuple[str, str]:
    """Return (recipient's digits, the text that its phone shows) of a body that is a message; refuse any other."""
    if body.get("messaging_product") != "whatsapp":
        refuse(400, 100, "The parameter messaging_product is required.")
    kind = body.get("type", "text")
    if kind not in (*FILES, "text", "template"):
        refuse(400, 131051, "Unsupported message type", f"Message type {kind!r} is not supported.")
    unknown = sorted(set(body) - KNOWN - {kind})
    if unknown:
        refuse(400, 100, "Invalid parameter", f'Unexpected key "{unknown[0]}" on param "message".')
    if body.get("recipient_type", "individual") != "individual":
        refuse(400, 131009, "Parameter value is not valid", "recipient_type must be individual.")
    digits = re.sub(r"[+\s()-]", "", str(body.get("to") or ""))
    if not digits:
        refuse(400, 100, "The parameter to is required.")
    if not re.fullmatch(r"[1-9][0-9]{6,14}", digits):
        refuse(400, 131009, "Parameter value is not valid", "The recipient is no phone number.")
    note = body.get("biz_opaque_callback_data", "")
    if not isinstance(note, str) or len(note) > 512:
        refuse(400, 100, "Invalid parameter", "biz_opaque_callback_data is text of at most 512 characters.")
    part = body.get(kind)
    if not isinstance(part, dict):
        refuse(400, 131008, "Required parameter is missing", f"Parameter '{kind}' is missing.")
    if kind == "text":
        return digits, _text(part)
    return digits, _filled(part, templates, media) if kind == "template" else _file(kind, part, media)


def _text(part: Mapping[str, Any]) -> str:
    text = part.get("body")
    if not isinstance(text, str) or not text:
        refuse(400, 131008, "Required parameter is missing", "Parameter 'text.body' is missing.")
    if len(text) > 4096:
        refuse(400, 100, "Param text['body'] must be at most 4096 characters long.")
    return text


def _file(kind: str, part: Mapping[str, Any], media: FindMedia) -> str:
    if ("id" in part) is ("link" in part):
        refuse(400, 131009, "Parameter value is not valid", f"{kind} needs either 'id' or 'link'.")
    if "id" in part:
        found = media(str(part["id"]))
        if found is None or not found["content_type"].startswith(FILES[kind]):
            refuse(400, 131009, "Parameter value is not valid", f"Media ID {part['id']} is not of an uploaded {kind}.")
    elif not re.match(r"https?://", str(part["link"])):
        refuse(400, 100, "Invalid parameter", f"Param {kind}['link'] is not a valid URI.")
    caption = str(part.get("caption") or "")
    if len(caption) > 1024 or (caption and kind not in CAPTIONED):
        refuse(400, 100, "Invalid parameter", f"Unexpected caption of {kind}.")
    return f"[{kind}{' ' + part['filename'] if part.get('filename') else ''}] {caption}".strip()


def _filled(part: Mapping[str, Any], templates: list[Json], media: FindMedia) -> str:
    language = part.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    if not part.get("name") or not code:
        refuse(400, 131008, "Required parameter is missing", "A template needs name and language.code.")
    found = next((each for each in templates if (each["name"], each["language"]) == (part["name"], code)), None)
    if found is None or found["status"] in ("PENDING", "REJECTED"):
        refuse(
            404,
            132001,
            "Template name does not exist in the translation",
            f"template name ({part['name']}) does not exist in {code}",
        )
    if found["name"].startswith(PAUSED) or found["status"] == "PAUSED":
        refuse(400, 132015, "Template is paused", "The template is paused due to low quality.")
    if found["status"] != "APPROVED":
        refuse(400, 132016, "Template is disabled", "The template is disabled due to low quality.")
    given: dict[str, list[Any]] = {"header": [], "body": [], "button": []}
    for each in part.get("components") or []:
        if each.get("type") not in given:
            refuse(400, 131009, "Parameter value is not valid", "Unknown type of component.")
        if each["type"] == "button" and (each.get("sub_type") != "url" or not str(each.get("index", "")).isdigit()):
            refuse(400, 131009, "Parameter value is not valid", "A button needs sub_type url and index.")
        given[each["type"]] += each.get("parameters") or []
    text = ""
    for component in found["components"]:
        text += _component(component, given, media)
    return text


def _component(component: Mapping[str, Any], given: Mapping[str, list[Any]], media: FindMedia) -> str:
    """Check what was given for one component; return what the phone shows of it."""
    match component["type"]:
        case "BODY":
            return _put_in(component["text"], given["body"], "body")
        case "HEADER" if component["format"] == "TEXT":
            return _put_in(component["text"], given["header"], "header") + "\n"
        case "HEADER":
            kind = component["format"].lower()
            if len(given["header"]) != 1 or given["header"][0].get("type") != kind:
                refuse(
                    400, 132012, "Parameter format does not match format in the created template", f"header: expected {kind}"
                )
            return _file(kind, given["header"][0].get(kind) or {}, media) + "\n"
        case _:
            urls = " ".join(each.get("url", "") for each in component["buttons"])
            _put_in(urls, given["button"], "button")
            return ""


def _put_in(text: str, parameters: list[Any], where: str) -> str:
    wanted = sorted(set(re.findall(r"\{\{\d+\}\}", text)))
    if len(wanted) != len(parameters):
        refuse(
            400, 132000, "Number of parameters does not match the expected number of params",
            f"{where}: number of localizable_params ({len(parameters)}) does not match the expected number ({len(wanted)})",
        )  # fmt: skip
    for name, parameter in zip(wanted, parameters, strict=True):
        value = parameter.get("text")
        if parameter.get("type") != "text" or not isinstance(value, str) or not value or re.search(r"[\n\t]| {5}", value):
            refuse(400, 132012, "Parameter format does not match format in the created template", f"{where}: {name}")
        text = text.replace(name, value)
    return text
