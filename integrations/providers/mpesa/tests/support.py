"""What the M-Pesa tests share: a config, a scripted HttpPort, a token store in memory, fixtures."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import NameOID

from integrations.contracts.adapter import ConfigView, FetchedToken, HttpPort, Reply, TokenPort
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundEvent, InboundRequest, Origin, Trust
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    PaymentQuery,
    PaymentRequest,
    RefundRequest,
)
from integrations.contracts.payment_features import MethodType
from integrations.providers.mpesa.adapter import MpesaPayments
from integrations.providers.mpesa.webhook import MpesaWebhook

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NOW = datetime(2024, 3, 30, 9, 7, 11, tzinfo=UTC)  # 12:07:11 in Nairobi
PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
SECRETS = {
    "consumer_key": "canary-consumer-key",
    "consumer_secret": "canary-consumer-secret",
    "passkey": PASSKEY,
    "initiator_password": "Canary#2026",
}
CALLBACK = "https://hub.example/hooks/0123456789abcdef0123456789abcdef01234567"

CHECKOUT = "ws_CO_10072026091526171708374149"
MERCHANT = "2654-4b64-97ff-b827b542881d3130"
ORIGINATOR, CONVERSATION = "1236-7134259-1", "AG_20260710_20106e9209f64bebd05b"
PASSWORD = "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkxOTIwMjQwMzMwMTIwNzEx"
CONVERSATION_REFERENCES = (("conversation", CONVERSATION), ("originator_conversation", ORIGINATOR))
KES_1500 = Money(150_000, "KES")
webhook = MpesaWebhook()
BEARER = {"Authorization": "Bearer stored-token", "Content-Type": "application/json"}


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


@lru_cache(maxsize=1)
def key_pair() -> tuple[RSAPrivateKey, str]:
    """Return a private key and a certificate (PEM) of it that expired in 2018, as Safaricom's in circulation did."""
    key = generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2016, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2018, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM).decode()


def config(environment: Environment = Environment.SANDBOX, *, initiator: bool = True, **values: Any) -> ConfigView:
    """Return an opened config of a pay bill as the registry makes it: every field there, None where empty."""
    plain: dict[str, Any] = {
        "product": "paybill",
        "shortcode": "174379",
        "store_number": None,
        "initiator_name": "testapi" if initiator else None,
        "certificate": key_pair()[1] if initiator else None,
        "callback_ip_check": "log",
        "callback_ips": None,
        "c2b_response_type": "Completed",
        "c2b_accounts": "any",
        "stk_max": 250_000,
        **values,
    }
    secrets = {**SECRETS, "initiator_password": SECRETS["initiator_password"] if initiator else None}
    return ConfigView(7, 3, "mpesa", environment, "https://sandbox.safaricom.co.ke", plain, secrets)


@dataclass(frozen=True)
class Sent:
    """One request as the adapter made it."""

    method: str
    url: str
    operation: str
    safe: bool | None
    json: Any
    query: Mapping[str, str] | None
    headers: Mapping[str, str]
    auth: tuple[str, str] | None


@dataclass
class ScriptedHttp:
    """An `HttpPort` that answers what it was told, in order, and keeps what it was asked; an exception is raised."""

    answers: list[Reply | Exception]
    sent: list[Sent] = field(default_factory=list)

    def request(
        self,
        method: str,
        url: str,
        *,
        operation: str,
        safe: bool | None = None,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> Reply:
        assert form is None
        assert body is None
        self.sent.append(Sent(method, url, operation, safe, json, query, dict(headers or {}), auth))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class MemoryTokens:
    """A `TokenPort` that holds one token."""

    token: str = ""
    rejected: list[str] = field(default_factory=list)

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        if rejected is not None:
            self.rejected.append(rejected)
        if not self.token or self.token == rejected:
            self.token = fetch().access_token
        return self.token


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    """Return a reply with a JSON body; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Reply(status, headers, body, 12)


def error(code: str, message: str, status: int | None = None) -> Reply:
    """Return Daraja's error envelope; the status is the code's first part unless given."""
    envelope = {"requestId": "11728-2929992-1", "errorCode": code, "errorMessage": message}
    return answer(envelope, status or int(code.partition(".")[0]))


def adapter(
    *answers: Reply | Exception, view: ConfigView | None = None, token: str = "stored-token"
) -> tuple[MpesaPayments, ScriptedHttp, MemoryTokens]:
    http, tokens = ScriptedHttp(list(answers)), MemoryTokens(token)
    return make(view or config(), http, tokens), http, tokens


def make(view: ConfigView, http: HttpPort, tokens: TokenPort, now: datetime = NOW) -> MpesaPayments:
    return MpesaPayments(config=view, http=http, tokens=tokens, clock=lambda: now)


def inbound(purpose: str, body: Any, remote_ip: str = "196.201.214.200") -> InboundRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return InboundRequest("POST", purpose, {}, {"Content-Type": "application/json;charset=UTF-8"}, raw, remote_ip)


def origin(token_object: str = "", trust: Trust = Trust.TOKEN) -> Origin:
    return Origin(tenant_id=3, config_id=7, trust=trust, receipt_id=11, token_object=token_object)


def push(**changed: Any) -> PaymentRequest:
    given: dict[str, Any] = {
        "payment_id": "pay_01jd8k0123456789abcdefgh12",
        "idempotency_key": "k1",
        "money": Money(150_000, "KES"),
        "method": MethodType.MOBILE_MONEY,
        "callback_url": CALLBACK,
        "phone": "0708 374 149",
        "reference": "INV-0042",
        "description": "School fee",
    }
    return PaymentRequest(**{**given, **changed})


def query(provider_ref: str = CHECKOUT) -> PaymentQuery:
    return PaymentQuery("pay_1", provider_ref, Money(150_000, "KES"))


def reversal(**changed: Any) -> RefundRequest:
    given: dict[str, Any] = {
        "refund_id": "re_1",
        "idempotency_key": "k1",
        "payment_receipt": "UGA3K7P2QX",
        "payment_provider_ref": CHECKOUT,
        "money": Money(150_000, "KES"),
        "callback_url": CALLBACK,
        "reason": "Paid twice",
    }
    return RefundRequest(**{**given, **changed})


def credential_of(payload: dict[str, Any]) -> bytes:
    return key_pair()[0].decrypt(base64.b64decode(payload.pop("SecurityCredential"), validate=True), PKCS1v15())


def common(trust: Trust, event_type: str) -> dict[str, Any]:
    return {
        "provider": "mpesa",
        "tenant_id": 3,
        "config_id": 7,
        "trust": trust,
        "receipt_id": 11,
        "provider_event_type": event_type,
    }


def parse(purpose: str, body: Any, token_object: str = "", trust: Trust = Trust.TOKEN) -> list[InboundEvent]:
    return list(webhook.parse(inbound(purpose, body), origin(token_object, trust)))


def only(purpose: str, body: Any, token_object: str = "") -> Any:
    (event,) = parse(purpose, body, token_object)
    return event


def key(purpose: str, body: Any, *, by_token: bool = True) -> str:
    return webhook.verify(inbound(purpose, body), config(), by_token=by_token).dedupe_key


def result(name: str, **changed: Any) -> Any:
    """Return a result fixture with members of `Result` replaced; None removes one."""
    body = fixture(name)
    body["Result"] = {k: v for k, v in {**body["Result"], **changed}.items() if v is not None}
    return body


def with_parameters(name: str, **values: Any) -> Any:
    """Return a result fixture with parameters replaced; None removes every one of that key."""
    body = fixture(name)
    found = [item for item in body["Result"]["ResultParameters"]["ResultParameter"] if item["Key"] not in values]
    found += [{"Key": name, "Value": value} for name, value in values.items() if value is not None]
    body["Result"]["ResultParameters"]["ResultParameter"] = found
    return body
