"""The fake: signing in, sending, topics, and what a device's screen shows.

Magic values (own convention): how a device token begins chooses the outcome; see `MAGIC`. Everything is on one address here,
which at Google are three hosts: `/token` (oauth2), `/v1/...` (fcm), `/iid/...` (iid).
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from pathlib import Path

from integrations.providers.fcm.simulator import accounts, answers
from integrations.providers.fcm.simulator.rules import TOPIC, read_request
from integrations.simulators import DemoAccount, Magic, Refusal, SimReply, SimRequest, Simulator, control, route
from integrations.simulators.wire import Json

TOKEN, MESSAGE, ONCE, GONE, FOLLOWER = "token", "message", "once", "gone", "follower"
SHOWN = 50_000
BATCH = 1000

ALWAYS: dict[str, Callable[[], SimReply]] = {
    "unreg-": answers.unregistered,
    "badtok-": answers.bad_token,
    "mismatch-": answers.mismatch,
    "apnsauth-": answers.third_party,
}
FIRST_TIME: dict[str, Callable[[], SimReply]] = {
    "quota-": lambda: answers.quota(2),
    "down-": answers.unavailable,
    "expire-": answers.not_signed_in,
}
MAGIC = (
    Magic("token unreg-…", "404 UNREGISTERED: the app is gone from the device"),
    Magic("token badtok-…", "400 INVALID_ARGUMENT: no registration token"),
    Magic("token mismatch-…", "403 SENDER_ID_MISMATCH: another project's device"),
    Magic("token apnsauth-…", "401 THIRD_PARTY_AUTH_ERROR: the APNs key in the project is wrong"),
    Magic("token quota-…", "429 with Retry-After: 2 at the first try, then accepted"),
    Magic("token down-…", "503 UNAVAILABLE at the first try, then accepted"),
    Magic("token expire-…", "401 at the first try, as for an access token that has ended; then accepted"),
    Magic("any other token", "accepted; FCM reports nothing afterwards"),
)


class FcmSimulator(Simulator):
    """Two projects. Access tokens are handed out for assertions signed with a project's own key, and end after their time."""

    slug = "fcm"
    title = "Firebase Cloud Messaging"
    secret_fields = frozenset({"assertion"})
    settings = {"token_lifetime": 3599}
    magic = MAGIC

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return accounts.demo_accounts(state_dir)

    def error_reply(self, status: int) -> SimReply:
        if status == 429:
            return answers.quota()
        if status == 500:
            return answers.internal()
        return answers.error(status, "NOT_FOUND" if status == 404 else "UNIMPLEMENTED", "The requested URL was not found.")

    # --- oauth2.googleapis.com

    @route("POST", "/token", operation="token")
    def token(self, request: SimRequest) -> SimReply:
        """Exchange a signed assertion for an access token."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refusal(SimReply.of_json({"error": "invalid_request", "error_description": "Bad Request"}, 400))
        form = request.form()
        accounts.refuse_grant(form.get("grant_type", ""))
        assertion = form.get("assertion", "")
        issuer = accounts.issuer_of(assertion)
        account = next((each for each in self.accounts if self._key(each)["client_email"] == issuer), None)
        accounts.judge_assertion(account, assertion, self.clock.now())
        lifetime = int(self.setting("token_lifetime"))
        token = "ya29.c." + secrets.token_urlsafe(48)
        data = {"label": account.label if account else "", "until": self.clock.now() + lifetime}
        self.store.put(self.slug, TOKEN, _digest(token), data)
        return SimReply.of_json({"access_token": token, "expires_in": lifetime, "token_type": "Bearer"})

    # --- fcm.googleapis.com

    @route("POST", "/v1/projects/<project>/messages:send", operation="send")
    def send(self, request: SimRequest) -> SimReply:
        """Take one message for one device or topic."""
        account, project = self._signed_in(request), request.params["project"]
        if project != self._key(account)["project_id"]:
            known = {self._key(each)["project_id"] for each in self.accounts}
            raise Refusal(answers.foreign_project(project) if project in known else answers.unknown_project())
        asked = read_request(self._json(request))
        message = asked["message"]
        device = message.get("token") or message.get("fid") or ""
        if device and (refusal := self._refusal_of(device)):
            return refusal
        if asked.get("validate_only"):
            return SimReply.of_json({"name": f"projects/{project}/messages/fake_message_id"})
        message_id = f"0:{int(self.clock.now() * 1_000_000)}%{secrets.token_hex(8)}"
        data = message.get("data", {})
        android = message.get("android", {})
        row = {
            "id": message_id, "account": account.label, "channel": "push", "state": "sent",
            "to": device or message.get("topic") or message.get("condition"), "kind": "device" if device else "topic",
            "title": message.get("notification", {}).get("title", ""), "text": message.get("notification", {}).get("body", ""),
            "ref": data.get("hub_message", ""), "data": data, "collapse_key": android.get("collapse_key", ""),
            "tag": android.get("notification", {}).get("tag", ""), "at": self.clock.now(),
        }  # fmt: skip
        self.store.put(self.slug, MESSAGE, message_id, row, ref=row["to"])
        return SimReply.of_json({"name": f"projects/{project}/messages/{message_id}"})

    # --- iid.googleapis.com

    @route("POST", "/iid/v1:batchAdd", operation="follow")
    def follow(self, request: SimRequest) -> SimReply:
        return self._change(request, following=True)

    @route("POST", "/iid/v1:batchRemove", operation="unfollow")
    def unfollow(self, request: SimRequest) -> SimReply:
        return self._change(request, following=False)

    # --- control

    @control("GET", "/messages")
    def messages(self, request: SimRequest) -> Json:
        """Every accepted message, oldest first: one row for each time it was taken."""
        found = self.store.find(self.slug, MESSAGE, limit=SHOWN)
        return {"messages": [each.data for each in reversed(found)]}

    @control("GET", "/screen/<token>")
    def screen(self, request: SimRequest) -> Json:
        """What an Android device shows, oldest first: a notification replaces an earlier one with the same tag."""
        token = request.params["token"]
        shown: dict[str, Json] = {}
        topics = {each.data["topic"] for each in self.store.find(self.slug, FOLLOWER, ref=token, limit=SHOWN)}
        for each in reversed(self.store.find(self.slug, MESSAGE, limit=SHOWN)):
            row = each.data
            mine = row["to"] == token if row["kind"] == "device" else row["to"] in topics
            if mine and (row["title"] or row["text"]):
                place = row["tag"] or row["id"]
                shown.pop(place, None)
                shown[place] = {"title": row["title"], "text": row["text"]}
        return {"shown": list(shown.values())}

    @control("PUT", "/devices/<token>")
    def change_device(self, request: SimRequest) -> Json:
        """`{"registered": false}`: the app is removed from the device; true: it is back."""
        registered, token = request.data().get("registered"), request.params["token"]
        if not isinstance(registered, bool):
            raise ValueError("registered is true or false")
        self.store.put(self.slug, GONE, token, {"gone": not registered})
        return {"token": token, "registered": registered}

    def state(self) -> Json:
        followers: dict[str, list[str]] = {}
        for each in reversed(self.store.find(self.slug, FOLLOWER, limit=SHOWN)):
            followers.setdefault(each.data["topic"], []).append(each.data["token"])
        return {
            "accounts": [{"label": each.label, "project_id": self._key(each)["project_id"]} for each in self.accounts],
            "messages": len(self.store.find(self.slug, MESSAGE, limit=SHOWN)),
            "topics": followers,
            "settings": self.all_settings(),
        }

    # --- inside

    def _key(self, account: DemoAccount) -> dict[str, str]:
        found: dict[str, str] = json.loads(account.secrets["service_account"])
        return found

    def _signed_in(self, request: SimRequest) -> DemoAccount:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        held = self.store.get(self.slug, TOKEN, _digest(token)) if kind == "Bearer" else None
        if held is None or held["until"] <= self.clock.now():
            raise Refusal(answers.not_signed_in())
        return next(each for each in self.accounts if each.label == held["label"])

    def _json(self, request: SimRequest) -> Json:
        refusal = Refusal(answers.error(400, "INVALID_ARGUMENT", "Invalid JSON payload received. Unexpected token."))
        if request.content_type != "application/json":
            raise refusal
        try:
            return request.json()
        except ValueError:
            raise refusal from None

    def _refusal_of(self, device: str) -> SimReply | None:
        """Return the refusal that this device draws now. It is returned, not raised: that it happened must be kept."""
        if (self.store.get(self.slug, GONE, device) or {}).get("gone"):
            return answers.unregistered()
        for begin, make in ALWAYS.items():
            if device.startswith(begin):
                return make()
        for begin, make in FIRST_TIME.items():
            if device.startswith(begin) and self.store.get(self.slug, ONCE, device) is None:
                self.store.put(self.slug, ONCE, device, {"at": self.clock.now()})
                return make()
        return None

    def _change(self, request: SimRequest, *, following: bool) -> SimReply:
        self._signed_in(request)
        if request.headers.get("access_token_auth", "").lower() != "true":
            raise Refusal(answers.not_signed_in())
        body = self._json(request)
        topic, tokens = body.get("to"), body.get("registration_tokens")
        if not isinstance(topic, str) or not topic.startswith("/topics/") or not TOPIC.fullmatch(topic[8:]):
            raise Refusal(SimReply.of_json({"error": "InvalidTopicName"}, 400))
        if not isinstance(tokens, list) or not 1 <= len(tokens) <= BATCH or not all(isinstance(each, str) for each in tokens):
            raise Refusal(SimReply.of_json({"error": "MalformedRequest"}, 400))
        return SimReply.of_json({"results": [self._follow(topic[8:], token, following=following) for token in tokens]})

    def _follow(self, topic: str, token: str, *, following: bool) -> Json:
        gone = (self.store.get(self.slug, GONE, token) or {}).get("gone")
        if gone or token.startswith("unreg-"):
            return {"error": "NOT_FOUND"}
        if token.startswith("badtok-"):
            return {"error": "INVALID_ARGUMENT"}
        place = f"{topic} {token}"
        if following:
            self.store.put(self.slug, FOLLOWER, place, {"topic": topic, "token": token}, ref=token)
        else:
            self.store.execute("DELETE FROM documents WHERE slug = ? AND kind = ? AND id = ?", self.slug, FOLLOWER, place)
        return {}


def _digest(token: str) -> str:
    """Return under what name a token is kept: not itself, the store is a plain file."""
    return hashlib.sha256(token.encode()).hexdigest()
