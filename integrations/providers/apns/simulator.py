"""A fake of Apple's push service: token authentication, checks of headers and payload, refusals by device token.

HTTP/2 only, as the real one. The development host is mounted below `/sandbox`. Magic tokens (own convention): the first four
hexadecimal digits choose the outcome; see `MAGIC`. Where Apple does not document the order of its checks (key, topic, device,
payload), the order here is a guess.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from integrations.simulators import DemoAccount, Magic, Refusal, SimReply, SimRequest, Simulator, control, derived, route
from integrations.simulators.http2 import CONNECTION, GOAWAY
from integrations.simulators.wire import Json

MESSAGE, ONCE, SPEAKER = "message", "once", "connection"
ACCOUNTS = (
    ("school", "SCH00LTEAM", "SCH00LKEY1", "com.example.school"),
    ("studio", "STUD10TEAM", "STUD10KEY1", "com.example.studio"),
)
# The number of points on P-256 (FIPS 186-4, D.1.2.3): private keys are smaller.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SUFFIXES = ("", ".voip", ".complication", ".push-type.liveactivity", ".location-query", ".voip-ptt", ".pushkit.fileprovider")
PUSH_TYPES = {"alert", "background", "voip", "complication", "fileprovider", "mdm", "location", "liveactivity", "pushtotalk"}
NOBODY = "0000"
GONE, GONE_BEFORE, BAD, OTHER_APP = "dead", "dea0", "bad0", "0f0f"
BUSY, LEAVING, EXPIRED, DEVELOPMENT, BROKEN = "4290", "5030", "4030", "0de5", "5000"
LONG_AGO = 30 * 86_400
UPDATE_SECONDS = 20 * 60
MAGIC = (
    Magic(f"token {GONE}…", "410 Unregistered, timestamp now"),
    Magic(f"token {GONE_BEFORE}…", "410 Unregistered, timestamp thirty days ago: before the app was registered"),
    Magic(f"token {BAD}… (or zeros)", "400 BadDeviceToken on either host"),
    Magic(f"token {OTHER_APP}…", "400 DeviceTokenNotForTopic"),
    Magic(f"token {BUSY}…", "429 TooManyRequests once, then accepted"),
    Magic(f"token {LEAVING}…", "503 Shutdown and GOAWAY once, then accepted"),
    Magic(f"token {EXPIRED}…", "403 ExpiredProviderToken once, then accepted"),
    Magic(f"token {BROKEN}…", "500 InternalServerError once, then accepted"),
    Magic(f"token {DEVELOPMENT}…", "a development build's device: 400 BadDeviceToken on the production host"),
    Magic("any other token", "accepted on the production host, 400 BadDeviceToken below /sandbox"),
)


class ApnsSimulator(Simulator):
    """Two accounts with a key each. `token_lifetime` is how old a provider token may be, in seconds; `token_updates` whether a
    second token on one connection within 20 minutes is refused."""

    slug = "apns"
    title = "Apple Push Notification service"
    settings = {"token_lifetime": 3600, "token_updates": True}
    magic = MAGIC

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return [
            DemoAccount(
                label,
                {"team_id": team, "key_id": key_id, "bundle_id": bundle},
                {"private_key": _pem(int(derived(state_dir, f"apns {label} key", 64), 16))},
            )
            for label, team, key_id, bundle in ACCOUNTS
        ]

    def error_reply(self, status: int) -> SimReply:
        reasons = {404: "BadPath", 405: "MethodNotAllowed", 429: "TooManyRequests", 500: "InternalServerError"}
        return _refused(status, reasons[status])

    # --- the API

    @route("POST", "/3/device/<token>", operation="send")
    def production(self, request: SimRequest) -> SimReply:
        return self._send(request, development=False)

    @route("POST", "/sandbox/3/device/<token>", operation="send")
    def development(self, request: SimRequest) -> SimReply:
        return self._send(request, development=True)

    # --- control

    @control("GET", "/messages")
    def messages(self, request: SimRequest) -> Json:
        """Return what was accepted, newest first, one row a request; `account` narrows it."""
        found = self.store.find(self.slug, MESSAGE, request.query.get("account") or None)
        return {"messages": [each.data for each in found]}

    def state(self) -> Json:
        return {
            "accounts": [{"label": each.label, **each.values} for each in self.accounts],
            "messages": [found.data for found in self.store.find(self.slug, MESSAGE)],
            "settings": self.all_settings(),
        }

    # --- inside

    def _send(self, request: SimRequest, *, development: bool) -> SimReply:
        if CONNECTION not in request.headers:
            return SimReply.of_text("this service speaks HTTP/2 only", 505)
        given = request.headers.get("apns-id", "")
        if given and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", given):
            raise Refusal(_refused(400, "BadMessageId"))
        message_id = given or str(uuid.uuid4())
        try:
            account, bearer = self._signed_in(request)
            self._check_update(request.headers[CONNECTION], account, bearer)
            topic = self._topic(request, account)
            token = request.params["token"].lower()
            magic = self._magic(request, token, message_id, development=development)
            if magic is not None:
                return magic
            sent = _checked_payload(request)
        except Refusal as refusal:
            refusal.reply.headers["apns-id"] = message_id
            raise
        self._keep(request, account, topic, token, message_id, sent, development=development)
        headers = {"apns-id": message_id}
        if development:
            headers["apns-unique-id"] = str(uuid.uuid4())
        return SimReply(200, b"", headers)

    def _signed_in(self, request: SimRequest) -> tuple[DemoAccount, str]:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not bearer:
            raise Refusal(_refused(403, "MissingProviderToken"))
        try:
            account, issued = self._signer(bearer)
        except (ValueError, KeyError, TypeError, StopIteration, InvalidSignature):
            raise Refusal(_refused(403, "InvalidProviderToken")) from None
        if self.clock.now() - issued > self.setting("token_lifetime"):
            raise Refusal(_refused(403, "ExpiredProviderToken"))
        return account, bearer

    def _signer(self, bearer: str) -> tuple[DemoAccount, int]:
        """Return who signed a provider token, and its time of issue; raise some error where it is none."""
        signed, _, signature = bearer.rpartition(".")
        head, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        account = next(each for each in self.accounts if each.values["key_id"] == head["kid"])
        if head["alg"] != "ES256" or set(claims) != {"iss", "iat"} or claims["iss"] != account.values["team_id"]:
            raise ValueError("another team, or no provider token")
        raw = _decoded(signature)
        if len(raw) != 64:
            raise ValueError("no signature of ES256")
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        self._public_key(account).verify(der, signed.encode(), ec.ECDSA(SHA256()))
        return account, int(claims["iat"])

    def _public_key(self, account: DemoAccount) -> ec.EllipticCurvePublicKey:
        secret = int(derived(self.store.state_dir, f"apns {account.label} key", 64), 16)
        return _private_key(secret).public_key()

    def _check_update(self, connection: str, account: DemoAccount, bearer: str) -> None:
        """Hold one connection to one team, and to few tokens. Only the signature is kept, which opens nothing."""
        known = self.store.get(self.slug, SPEAKER, connection)
        mark, now = bearer.rpartition(".")[2], self.clock.now()
        if known and known["account"] != account.label:
            raise Refusal(_refused(403, "InvalidProviderToken"))
        if known and known["mark"] != mark and self.setting("token_updates") and now - known["since"] < UPDATE_SECONDS:
            raise Refusal(_refused(429, "TooManyProviderTokenUpdates"))
        if not known or known["mark"] != mark:
            self.store.put(self.slug, SPEAKER, connection, {"account": account.label, "mark": mark, "since": now})

    def _topic(self, request: SimRequest, account: DemoAccount) -> str:
        topic = request.headers.get("apns-topic", "")
        if not topic:
            raise Refusal(_refused(400, "MissingTopic"))
        if topic not in {account.values["bundle_id"] + suffix for suffix in SUFFIXES}:
            raise Refusal(_refused(400, "TopicDisallowed"))
        return topic

    def _magic(self, request: SimRequest, token: str, message_id: str, *, development: bool) -> SimReply | None:
        """Return what the token's first digits ask for, None where the notification is to be taken."""
        kind, said = token[:4], {"apns-id": message_id}
        if not re.fullmatch(r"([0-9a-f]{2})+", token) or kind in {BAD, NOBODY}:
            raise Refusal(_refused(400, "BadDeviceToken"))
        if kind in {GONE, GONE_BEFORE}:
            at = self.clock.now() - (LONG_AGO if kind == GONE_BEFORE else 0)
            return SimReply(*_unregistered(at), said | {"Content-Type": "application/json"})
        if kind == OTHER_APP:
            raise Refusal(_refused(400, "DeviceTokenNotForTopic"))
        if development != (kind == DEVELOPMENT):
            raise Refusal(_refused(400, "BadDeviceToken"))
        once = {
            BUSY: (429, "TooManyRequests"),
            LEAVING: (503, "Shutdown"),
            EXPIRED: (403, "ExpiredProviderToken"),
            BROKEN: (500, "InternalServerError"),
        }
        if kind not in once or self.store.get(self.slug, ONCE, token) is not None:
            return None
        self.store.put(self.slug, ONCE, token, {})
        reply = _refused(*once[kind])
        reply.headers |= said
        if kind == LEAVING:
            reply.headers[GOAWAY] = "1"
        if kind == EXPIRED:  # the new token that follows is asked for, not one too many
            speaker = self.store.get(self.slug, SPEAKER, request.headers[CONNECTION]) or {}
            self.store.put(self.slug, SPEAKER, request.headers[CONNECTION], {**speaker, "since": 0.0})
        return reply

    def _keep(
        self,
        request: SimRequest,
        account: DemoAccount,
        topic: str,
        token: str,
        message_id: str,
        sent: Json,
        *,
        development: bool,
    ) -> None:
        alert = sent["aps"].get("alert") or {}
        alert = alert if isinstance(alert, dict) else {"body": alert}
        row = {
            "id": uuid.uuid4().hex,
            "account": account.label,
            "to": token,
            "channel": "push",
            "title": alert.get("title", ""),
            "text": alert.get("body", ""),
            "ref": message_id,
            "state": "sent",
            "topic": topic,
            "push_type": request.headers["apns-push-type"],
            "priority": int(request.headers.get("apns-priority", "10")),
            "expiration": request.headers.get("apns-expiration", ""),
            "collapse_id": request.headers.get("apns-collapse-id", ""),
            "environment": "sandbox" if development else "production",
            "connection": request.headers[CONNECTION],
            "payload": sent,
            "at": self.clock.now(),
        }
        self.store.put(self.slug, MESSAGE, row["id"], row, ref=account.label)


def _checked_payload(request: SimRequest) -> Json:
    """Return the payload where it and the headers fit together; raise the `Refusal` that Apple would answer."""
    headers: Mapping[str, str] = request.headers
    if len(headers.get("apns-collapse-id", "").encode()) > 64:
        raise Refusal(_refused(400, "BadCollapseId"))
    if not re.fullmatch(r"\d{0,12}", headers.get("apns-expiration", "")):
        raise Refusal(_refused(400, "BadExpirationDate"))
    priority, push_type = headers.get("apns-priority", "10"), headers.get("apns-push-type", "")
    if priority not in {"1", "5", "10"} or (push_type == "background" and priority == "10"):
        raise Refusal(_refused(400, "BadPriority"))
    if len(request.body) > (5120 if push_type == "voip" else 4096):
        raise Refusal(_refused(413, "PayloadTooLarge"))
    try:
        sent = request.json()
    except ValueError:
        raise Refusal(_refused(400, "PayloadEmpty")) from None
    aps: Any = sent.get("aps")
    if not isinstance(aps, dict) or not aps:
        raise Refusal(_refused(400, "PayloadEmpty"))
    seen = {"alert", "sound", "badge"} & set(aps)
    fits = not seen and aps.get("content-available") == 1 if push_type == "background" else push_type != "alert" or bool(seen)
    if push_type not in PUSH_TYPES or not fits:
        raise Refusal(_refused(400, "InvalidPushType"))
    return sent


def _refused(status: int, reason: str) -> SimReply:
    return SimReply.of_json({"reason": reason}, status)


def _unregistered(at: float) -> tuple[int, bytes]:
    return 410, json.dumps({"reason": "Unregistered", "timestamp": int(at * 1000)}).encode()


def _private_key(secret: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(secret % (ORDER - 1) + 1, ec.SECP256R1())


def _pem(secret: int) -> str:
    return _private_key(secret).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().strip()


def _decoded(part: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", part):
        raise ValueError("not base64url without padding")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
