"""Event Webhook settings: made by the API or by the control page, each with a key of its own once it is signed."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from integrations.simulators import Part, Refusal, SimReply, SimRequest, derived, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.sendgrid.simulator.fake import SendGridSimulator

# Kept by a reset that keeps the setup.
HOOK = "setup"
MOST = 5
FLAGS = (
    "enabled", "processed", "deferred", "delivered", "bounce", "dropped", "spam_report", "unsubscribe", "group_unsubscribe",
    "group_resubscribe", "open", "click",
)  # fmt: skip
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256: private keys lie below it."""
ROOT = "/v3/user/webhooks/event/settings"


@lru_cache(maxsize=64)
def _private(state_dir: Path, name: str) -> ec.EllipticCurvePrivateKey:
    number = int(derived(state_dir, f"sendgrid signing {name}", 64), 16)
    return ec.derive_private_key(number % (ORDER - 1) + 1, ec.SECP256R1())


def public_key(state_dir: Path, name: str) -> str:
    """Return the public key of the webhook `name` as SendGrid shows it; the same for all processes on this state folder."""
    public = _private(state_dir, name).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode("ascii")


def signature(state_dir: Path, name: str, signed_at: str, body: bytes) -> str:
    """Return what goes into the signature header."""
    signed = _private(state_dir, name).sign(signed_at.encode() + body, ec.ECDSA(hashes.SHA256()))
    return base64.b64encode(signed).decode("ascii")


class Hooks(Part):
    """An account's webhooks. `key` names the key; the control page's webhook has the one of the account's demo config."""

    def __init__(self, sim: SendGridSimulator) -> None:
        self._sim = sim

    def of(self, label: str) -> list[Json]:
        """Return the account's webhooks, oldest first."""
        found = [each.data for each in self._sim.store.find(self._sim.slug, HOOK, ref=label)]
        return [each for each in reversed(found) if not each["deleted"]]

    def set_url(self, label: str, url: Any) -> None:
        """Have the account's events posted here ('' for nowhere), all kinds, signed with the key `label`."""
        if url and (not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https")):
            raise ValueError("webhook_url is an http(s) URL")
        made = self._made(label, str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{label}.sendgrid")), url or "")
        self._save({**made, **dict.fromkeys(FLAGS, True), "key": label, "signed": True, "deleted": not url})

    # --- the API

    @route("GET", f"{ROOT}/all", operation="webhooks")
    def all_of_them(self, request: SimRequest) -> SimReply:
        # Collected before `one`, whose path fits `all` too: methods are taken in the order of their names.
        account = self._sim.account(request)
        shown = [self._shown(each, key=True) for each in self.of(account.label)]
        return self._sim.answer({"max_allowed": MOST, "webhooks": shown or [{}]})

    @route("POST", ROOT, operation="webhooks")
    def create(self, request: SimRequest) -> SimReply:
        account = self._sim.account(request)
        data = self._sim.object(request)
        self._check(account.label, data, required=True)
        if len(self.of(account.label)) >= MOST:
            raise self._problem(400, "You have reached the maximum number of webhooks per your current billing plan.")
        made = self._made(account.label, str(uuid.uuid4()), data["url"])
        self._save({**made, **self._flags(data), "friendly_name": data.get("friendly_name")})
        return self._sim.answer(self._shown(self._find(account.label, made["id"])), 201)

    @route("GET", f"{ROOT}/<id>", operation="webhooks")
    def one(self, request: SimRequest) -> SimReply:
        found = self._find(self._sim.account(request).label, request.params["id"])
        return self._sim.answer(self._shown(found, key=True))

    @route("PATCH", f"{ROOT}/<id>", operation="webhooks")
    def change(self, request: SimRequest) -> SimReply:
        account = self._sim.account(request)
        found, data = self._find(account.label, request.params["id"]), self._sim.object(request)
        self._check(account.label, data, own=found["id"])
        self._save({**found, "url": data.get("url", found["url"]), **self._flags(data), "updated": self._sim.clock.now()})
        return self._sim.answer(self._shown(self._find(account.label, found["id"])))

    @route("DELETE", f"{ROOT}/<id>", operation="webhooks")
    def delete(self, request: SimRequest) -> SimReply:
        found = self._find(self._sim.account(request).label, request.params["id"])
        self._save({**found, "deleted": True})
        return self._sim.answer(None, 204)

    @route("GET", f"{ROOT}/signed/<id>", operation="webhooks")
    def signing(self, request: SimRequest) -> SimReply:
        found = self._find(self._sim.account(request).label, request.params["id"])
        return self._sim.answer({"id": found["id"], "public_key": self._public(found)})

    @route("PATCH", f"{ROOT}/signed/<id>", operation="webhooks")
    def sign(self, request: SimRequest) -> SimReply:
        found, data = self._find(self._sim.account(request).label, request.params["id"]), self._sim.object(request)
        if not isinstance(data.get("enabled"), bool):
            raise self._problem(400, "enabled is true or false")
        self._save({**found, "signed": data["enabled"]})
        return self._sim.answer({"id": found["id"], "public_key": self._public({**found, "signed": data["enabled"]})})

    # --- inside

    def _made(self, label: str, ref: str, url: str) -> Json:
        now = self._sim.clock.now()
        return {
            "id": ref, "account": label, "url": url, "key": ref, "signed": False, "deleted": False, "friendly_name": None,
            "created": now, "updated": now, **dict.fromkeys(FLAGS, False),
        }  # fmt: skip

    def _flags(self, data: Json) -> Json:
        return {name: data[name] for name in FLAGS if name in data}

    def _check(self, label: str, data: Json, *, required: bool = False, own: str = "") -> None:
        url = data.get("url")
        if (required or url is not None) and (not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https")):
            raise self._problem(400, f"'{url}' is not a valid url")
        twin = next((each for each in self.of(label) if each["url"] == url and each["id"] != own), None)
        if twin is not None:
            text = f"Webhook at '{url}' already exists. Please provide a unique URL."
            raise Refusal(self._sim.answer({"errors": [{"id": twin["id"], "message": text, "url": url}]}, 400))
        if any(not isinstance(value, bool) for value in self._flags(data).values()):
            raise self._problem(400, "flags are true or false")

    def _find(self, label: str, ref: str) -> Json:
        found = next((each for each in self.of(label) if each["id"] == ref), None)
        if found is None:
            raise self._problem(404, "Invalid id provided.")
        return found

    def _problem(self, status: int, message: str) -> Refusal:
        return Refusal(self._sim.answer({"errors": [{"message": message}]}, status))

    def _save(self, hook: Json) -> None:
        self._sim.store.put(self._sim.slug, HOOK, hook["id"], hook, ref=hook["account"])

    def _public(self, hook: Json) -> str:
        return public_key(self._sim.store.state_dir, hook["key"]) if hook["signed"] else ""

    def _shown(self, hook: Json, *, key: bool = False) -> Json:
        shown = {name: hook[name] for name in ("id", "url", *FLAGS)} | {"account_status_change": False}
        if hook["friendly_name"]:
            shown["friendly_name"] = hook["friendly_name"]
        shown |= {"created_date": _iso(hook["created"]), "updated_date": _iso(hook["updated"])}
        return {**shown, "public_key": self._public(hook)} if key else shown


def _iso(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
