"""The control side: what arrived, later reports, customers who write, a template's new status."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from integrations.providers.whatsapp.simulator.accounts import Account
from integrations.providers.whatsapp.simulator.rules import FILES
from integrations.simulators import Part, SimRequest, control
from integrations.simulators.wire import Json, digits

if TYPE_CHECKING:
    from integrations.providers.whatsapp.simulator.fake import WhatsAppSimulator

STATUSES = ("sent", "delivered", "read", "failed", "deleted")
TEMPLATE_STATUSES = ("APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED")


class Desk(Part):
    """A ValueError is answered with 400, a KeyError with 404."""

    def __init__(self, sim: WhatsAppSimulator) -> None:
        self._sim = sim

    @control("PUT", "/accounts/<label>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url` ('' for none)."""
        account, data = self._sim.account(request.params["label"]), request.data()
        url = data.get("webhook_url")
        if set(data) != {"webhook_url"} or not isinstance(url, str):
            raise ValueError("give webhook_url")
        if url and urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("webhook_url is an http(s) URL")
        return {"label": account.label, **self._sim.hooks.set_up(account, webhook_url=url)}

    @control("GET", "/messages")
    def messages(self, request: SimRequest) -> Json:
        """Return what was accepted, oldest first, one row each."""
        return {"messages": self._sim.rows()}

    @control("POST", "/report")
    def report(self, request: SimRequest) -> Json:
        """Report `status` of message `id` (with `code` and `title` for failed). `reports`: several, in one webhook."""
        data = request.data()
        wanted = data.get("reports") or [data]
        found = [(self._message(each), each) for each in wanted]
        labels = {row["account"] for row, _ in found}
        if len(labels) != 1:
            raise ValueError("the messages belong to different accounts")
        entries = []
        for row, each in found:
            if each.get("status") not in STATUSES:
                raise ValueError(f"status is one of {', '.join(STATUSES)}")
            failure = (int(each.get("code") or 131026), str(each.get("title") or "Message undeliverable"), "")
            entries.append(self._sim.status_entry(row, each["status"], failure))
            self._sim.note(row["id"], each["status"])
        self._sim.tell_statuses(self._sim.account(labels.pop()), entries)
        return {"reported": len(entries)}

    @control("POST", "/inbound")
    def inbound(self, request: SimRequest) -> Json:
        """A customer writes: `account`, `from`, `text`, perhaps `name`, `reply_to`, `media` (kind, content_type, content as
        base64)."""
        data = request.data()
        account = self._sim.account(str(data.get("account", "")))
        return self.write(account, str(data.get("from") or ""), str(data.get("text") or ""), data)

    @control("PUT", "/templates/<label>/<name>")
    def change_template(self, request: SimRequest) -> Json:
        """Give all translations of a template a new `status`, and say so by webhook."""
        account, name = self._sim.account(request.params["label"]), request.params["name"]
        status = request.data().get("status")
        if status not in TEMPLATE_STATUSES:
            raise ValueError(f"status is one of {', '.join(TEMPLATE_STATUSES)}")
        found = [each for each in self._sim.templates(account) if each["name"] == name]
        if not found:
            raise KeyError(name)
        self._sim.change_template(account, name, status)
        for each in found:
            value = {
                "event": status, "message_template_id": int(each["id"]), "message_template_name": name,
                "message_template_language": each["language"], "reason": "NONE",
            }  # fmt: skip
            self._sim.hooks.tell(account, "message_template_status_update", value, "template_status")
        return {"changed": len(found)}

    def write(self, account: Account, sender: str, text: str, data: Json) -> Json:
        """Have a customer's message reach the account: his window opens, and the hub is told."""
        number = digits(sender)
        if not number or not (text or data.get("media")):
            raise ValueError("give from, and text or media")
        wamid = self._sim.new_id(number)
        entry: Json = {"from": number, "id": wamid, "timestamp": str(int(self._sim.clock.now()))}
        media = data.get("media")
        if isinstance(media, dict):
            kind = str(media.get("kind") or "document")
            if kind not in FILES:
                raise ValueError(f"kind is one of {', '.join(FILES)}")
            content = base64.b64decode(str(media.get("content") or ""), validate=True)
            content_type = str(media.get("content_type") or "application/octet-stream")
            stored = self._sim.keep_file(account, str(media.get("filename") or ""), content_type, content)
            shown = {"mime_type": content_type, "sha256": secrets.token_urlsafe(32), "id": stored}
            entry |= {"type": kind, kind: {**({"caption": text} if text else {}), **shown}}
        else:
            entry |= {"type": "text", "text": {"body": text}}
        if data.get("reply_to"):
            entry["context"] = {"from": account.display, "id": str(data["reply_to"])}
        self._sim.written(account, number, wamid)
        contact = {"profile": {"name": str(data.get("name") or "Customer")}, "wa_id": number}
        value = {**self._sim.head(account), "contacts": [contact], "messages": [entry]}
        self._sim.hooks.tell(account, "messages", value, "message")
        return {"id": wamid, "from": f"+{number}"}

    def _message(self, each: Json) -> Json:
        found = self._sim.store.get(self._sim.slug, "message", str(each.get("id") or ""))
        if found is None:
            raise KeyError(str(each.get("id")))
        return found
