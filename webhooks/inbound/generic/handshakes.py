"""Answers to "is this address yours?", asked when an address is set up. Nothing is stored; what is echoed is plain text that no
browser reads as anything else.

Slack's `url_verification` is answered by every source of its scheme, signature first. The others are switched on by the
option `handshake`, since they echo what anybody sends: `meta` (`hub.challenge`, if `hub.verify_token` is the source's own),
`graph` (Microsoft's `validationToken`), `challenge` (a GET with `?challenge=`).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from integrations.contracts.inbound import Ack, InboundRequest, MalformedWebhook
from webhooks.inbound.models import Scheme
from webhooks.inbound.refusals import Reason, Refused

HANDSHAKES = ("meta", "graph", "challenge")
MAX_ECHO = 2000


def by_query(handshake: str, verify_token: str, request: InboundRequest) -> Ack | None:
    """Return the answer to a handshake in the query, None where this is none. Raises `Refused` for a wrong token."""
    query = request.query
    if handshake == "meta" and request.method == "GET" and query.get("hub.mode") == "subscribe":
        if not verify_token or not hmac.compare_digest(query.get("hub.verify_token", "").encode(), verify_token.encode()):
            raise Refused(Reason.SIGNATURE)
        return _echo(query.get("hub.challenge", ""))
    if handshake == "graph" and request.method in ("GET", "POST") and "validationToken" in query:
        return _echo(query["validationToken"])
    if handshake == "challenge" and request.method == "GET" and "challenge" in query:
        return _echo(query["challenge"])
    return None


def by_body(scheme: str, body: Mapping[str, Any]) -> Ack | None:
    """Return the answer to Slack's question; only for a request whose signature was found true."""
    if scheme != Scheme.SLACK or body.get("type") != "url_verification":
        return None
    challenge = body.get("challenge")
    if not isinstance(challenge, str):
        raise MalformedWebhook("there is no challenge")
    return Ack(body=json.dumps({"challenge": challenge[:MAX_ECHO]}).encode())


def _echo(text: str) -> Ack:
    if not text or len(text) > MAX_ECHO or not text.isprintable():
        raise MalformedWebhook("the challenge can't be echoed")
    return Ack(body=text.encode("utf-8", "replace"), content_type="text/plain; charset=utf-8")
