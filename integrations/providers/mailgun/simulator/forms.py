"""Reading what was posted: multipart or form, fields that come more than once, files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from email.utils import getaddresses
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from integrations.simulators import Refusal, SimReply, SimRequest
from integrations.simulators.wire import Json

ADDRESS = re.compile(r"[^\s@<>,;\"]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
NAMED = frozenset(
    {"from", "to", "cc", "bcc", "subject", "text", "html", "amp-html", "template", "recipient-variables", "id", "url"}
)
CHOICES = {
    "o:tracking": {"yes", "no", "true", "false", "htmlonly"},
    "o:tracking-clicks": {"yes", "no", "true", "false", "htmlonly"},
    "o:tracking-opens": {"yes", "no", "true", "false"},
    "o:testmode": {"yes"},
}
OPTIONS_LIMIT = 16 * 1024


@dataclass(slots=True)
class Form:
    """Fields in the order sent; `files` holds (field, file name, size)."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, str, int]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str:
        found = self.all(name)
        return found[-1] if found else ""

    def prefixed(self, prefix: str) -> dict[str, str]:
        """Return fields like `h:X` under their own names."""
        return {key.removeprefix(prefix): value for key, value in self.fields if key.startswith(prefix)}

    def addresses(self, name: str) -> list[str]:
        """Return the bare addresses of a field, comma lists and repetitions alike; refuse the call for a bad one."""
        values = self.all(name)
        found = [address for _name, address in getaddresses(values)] if values else []
        if values and (not found or not all(ADDRESS.fullmatch(each) for each in found)):
            refuse(400, f"'{name}' parameter is not a valid address. please check documentation")
        return found


def read_form(request: SimRequest) -> Form:
    """Return the fields of a multipart or form body; anything else is refused."""
    if request.content_type == "application/x-www-form-urlencoded":
        return Form(parse_qsl(request.text(), keep_blank_values=True))
    if request.content_type != "multipart/form-data":
        refuse(400, "Unsupported content type")
    head = b"Content-Type: " + request.headers["Content-Type"].encode() + b"\r\n\r\n"
    # `latin-1` in the head of a part, as the parser reads it, is the UTF-8 that was sent.
    parsed: Any = BytesParser(EmailMessage, policy=HTTP.clone(utf8=True)).parsebytes(head + request.body)
    form = Form()
    if not parsed.is_multipart():
        refuse(400, "Malformed body")
    for part in parsed.iter_parts():
        name = str(part.get_param("name", "", header="content-disposition"))
        content = part.get_payload(decode=True) or b""
        filename = part.get_filename()
        if filename is not None:
            form.files.append((name, filename, len(content)))
        elif name in ("attachment", "inline"):
            continue  # Mailgun drops a file without a name and says nothing
        else:
            form.fields.append((name, content.decode("utf-8")))
    return form


def check_message(form: Form, templates: dict[str, str]) -> None:
    """Refuse what Mailgun refuses, in its words where they are known."""
    for name, value in form.fields:
        if name not in NAMED and name[:2] not in ("h:", "v:", "o:", "t:"):
            refuse(400, f"'{name}' is not a parameter of this call")
        if name in CHOICES and value not in CHOICES[name]:
            refuse(400, f"'{name}' parameter is not valid")
    for name in ("from", "to"):
        if not form.one(name):
            refuse(400, f"'{name}' parameter is missing")
        form.addresses(name)
    if sum(len(form.addresses(name)) for name in ("to", "cc", "bcc")) > 1000:
        refuse(400, "'to' parameter: at most 1000 recipients")
    template = form.one("template")
    if not (form.one("text") or form.one("html") or form.one("amp-html") or template):
        refuse(400, "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified")
    if template and form.one("html"):
        refuse(400, "Only one parameters 'html' or 'template' is allowed.")
    if template and template not in templates:
        refuse(400, f"template {template} not found")
    used = sum(len(name) + len(value.encode()) for name, value in form.fields if name[1:2] == ":")
    if used > OPTIONS_LIMIT:
        refuse(400, "Send options (parameters starting with o:, h:, v: or t:) are limited to 16KB total")


def variables_of(form: Form) -> Json | None:
    """Return `recipient-variables`, None where there are none (then everybody sees all of `to`)."""
    text = form.one("recipient-variables")
    if not text:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        refuse(400, "recipient-variables is not a valid JSON dictionary")
    return dict(found)


def filled(text: str, values: Json) -> str:
    """Return the text with `%recipient.x%` replaced, once: what came in is not read again; unknown ones stay."""
    return re.sub(r"%recipient\.([\w:-]+)%", lambda match: str(values.get(match[1], match[0])), text)


def rendered(template: str, values: Json) -> str:
    """Return a stored template with `{{x}}` replaced; unknown ones become empty, as with handlebars."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: str(values.get(match[1], "")), template)


def refuse(status: int, message: str) -> NoReturn:
    raise Refusal(SimReply.of_json({"message": message}, status))
