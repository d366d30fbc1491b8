"""The suppression lists: filled by what happens to messages, asked and cleared by the API."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.sendgrid.simulator.fake import SendGridSimulator

LISTED = "listed"
# The list -> why a message to an address on it is dropped. `blocks` stops nothing.
DROPS = {
    "bounces": "Bounced Address",
    "invalid_emails": "Invalid",
    "spam_reports": "Spam Reporting Address",
    "unsubscribes": "Unsubscribed Address",
}
OPERATION = "suppressions"
PAGE = 500


class Lists(Part):
    """Addresses of an account that are on a list, kept in lower case."""

    def __init__(self, sim: SendGridSimulator) -> None:
        self._sim = sim

    def add(self, label: str, name: str, address: str, reason: str = "", status: str = "") -> None:
        entry = {"created": int(self._sim.clock.now()), "email": address.lower(), "removed": False}
        entry |= {"ip": "192.0.2.10"} if name == "spam_reports" else {"reason": reason, "status": status}
        self._sim.store.put(self._sim.slug, LISTED, f"{label} {name} {address.lower()}", entry, ref=f"{label} {name}")

    def why_dropped(self, label: str, address: str) -> str:
        """Return for which reason a message to the address is dropped, '' where it is not."""
        return next((why for name, why in DROPS.items() if self._one(label, name, address)), "")

    def state(self, label: str) -> Json:
        return {name: [each["email"] for each in self._all(label, name)] for name in (*DROPS, "blocks")}

    @route("GET", "/v3/suppression/<name>", operation=OPERATION)
    def listing(self, request: SimRequest) -> SimReply:
        account, name = self._sim.account(request), self._name(request)
        # What wrong numbers are answered with is not described: they count as left out, or as the most allowed.
        digits = {key: int(value) for key, value in request.query.items() if value.isdigit()}
        limit, offset = min(digits.get("limit") or PAGE, PAGE), digits.get("offset", 0)
        found = [self._shown(name, each) for each in self._all(account.label, name)]
        return self._sim.answer(found[offset : offset + limit])

    @route("GET", "/v3/suppression/<name>/<email>", operation=OPERATION)
    def one(self, request: SimRequest) -> SimReply:
        account, name = self._sim.account(request), self._name(request)
        found = self._one(account.label, name, unquote(request.params["email"]))
        return self._sim.answer([self._shown(name, found)] if found else [])

    @route("DELETE", "/v3/suppression/<name>/<email>", operation=OPERATION)
    def remove(self, request: SimRequest) -> SimReply:
        self._remove(self._sim.account(request).label, self._name(request), request.params["email"])
        return self._sim.answer(None, 204)

    @route("DELETE", "/v3/asm/suppressions/global/<email>", operation=OPERATION)
    def remove_global(self, request: SimRequest) -> SimReply:
        self._remove(self._sim.account(request).label, "unsubscribes", request.params["email"])
        return self._sim.answer(None, 204)

    @route("POST", "/v3/asm/suppressions/global", operation=OPERATION)
    def add_global(self, request: SimRequest) -> SimReply:
        account, data = self._sim.account(request), self._sim.object(request)
        addresses = data.get("recipient_emails")
        if not isinstance(addresses, list) or not addresses or not all(isinstance(each, str) for each in addresses):
            raise self._sim.refusal(400, "recipient_emails is required", "recipient_emails")
        for address in addresses:
            self.add(account.label, "unsubscribes", address)
        return self._sim.answer({"recipient_emails": addresses}, 201)

    def _name(self, request: SimRequest) -> str:
        name = request.params["name"]
        # Single unsubscribes are under /v3/asm.
        if name not in (*DROPS, "blocks") or (name == "unsubscribes" and "email" in request.params):
            raise self._sim.refusal(404, "not found")
        return name

    def _remove(self, label: str, name: str, address: str) -> None:
        found = self._one(label, name, unquote(address))
        if found:
            key = f"{label} {name} {found['email']}"
            self._sim.store.put(self._sim.slug, LISTED, key, {**found, "removed": True}, ref=f"{label} {name}")

    def _all(self, label: str, name: str) -> list[Json]:
        found = self._sim.store.find(self._sim.slug, LISTED, ref=f"{label} {name}", limit=5000)
        return [each.data for each in found if not each.data["removed"]]

    def _one(self, label: str, name: str, address: str) -> Json | None:
        found = self._sim.store.get(self._sim.slug, LISTED, f"{label} {name} {address.lower()}")
        return found if found and not found["removed"] else None

    def _shown(self, name: str, entry: Json) -> Json:
        members = {"unsubscribes": (), "spam_reports": ("ip",), "invalid_emails": ("reason",)}
        return {each: entry[each] for each in ("created", "email", *members.get(name, ("reason", "status")))}
