"""A plain client of the simulated Daraja for its own tests: it shares no code with the adapter."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from integrations.providers.mpesa.simulator import MpesaSimulator
from integrations.simulators import DemoAccount, running_simulators
from tests.simulators.support import Received, Receiver, wait_for

# 2026-07-10 09:15:26 in Nairobi, the moment of the sheet's examples.
START = 1_783_664_126.0
STAMP = "20260710091526"
NORMAL = "254712345678"


@dataclass
class Daraja:
    """One organisation's view; `hooks` receives the callbacks."""

    running: running_simulators
    clock: Any  # a ManualClock; the browser tests, which advance nothing, run on the system clock
    hooks: Receiver
    account: DemoAccount
    token: str = ""

    @property
    def simulator(self) -> MpesaSimulator:
        found = self.running.simulator("mpesa")
        assert isinstance(found, MpesaSimulator)
        return found

    @property
    def shortcode(self) -> str:
        return str(self.account.values["shortcode"])

    @property
    def business_code(self) -> str:
        return str(self.account.values.get("store_number") or self.shortcode)

    def authenticate(self, key: str | None = None, grant: str = "client_credentials") -> requests.Response:
        secrets = self.account.secrets
        pair = (secrets["consumer_key"] if key is None else key, secrets["consumer_secret"])
        return requests.get(f"{self.running.url}/mpesa/oauth/v1/generate?grant_type={grant}", auth=pair, timeout=5)

    def post(self, path: str, body: Any, **headers: str) -> requests.Response:
        if not self.token:
            self.token = self.authenticate().json()["access_token"]
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        return requests.post(f"{self.running.url}/mpesa{path}", json=body, headers=sent, timeout=15)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.running.url}/control{path}", json=body, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def password(self, stamp: str = STAMP) -> str:
        return base64.b64encode(f"{self.business_code}{self.account.secrets['passkey']}{stamp}".encode()).decode()

    def push_body(self, msisdn: str = NORMAL, **changes: Any) -> dict[str, Any]:
        body = {
            "BusinessShortCode": self.business_code,
            "Password": self.password(),
            "Timestamp": STAMP,
            "TransactionType": "CustomerBuyGoodsOnline" if "store_number" in self.account.values else "CustomerPayBillOnline",
            "Amount": 1500,
            "PartyA": msisdn,
            "PartyB": self.shortcode,
            "PhoneNumber": msisdn,
            "CallBackURL": f"{self.hooks.url}/cb/abc123/s",
            "AccountReference": "INV-0042",
            "TransactionDesc": "Term 1 fees",
        }
        return {key: value for key, value in {**body, **changes}.items() if value is not None}

    def push(self, msisdn: str = NORMAL, **changes: Any) -> requests.Response:
        return self.post("/mpesa/stkpush/v1/processrequest", self.push_body(msisdn, **changes))

    def query(self, checkout: str, **changes: Any) -> requests.Response:
        body = {
            "BusinessShortCode": self.business_code,
            "Password": self.password(),
            "Timestamp": STAMP,
            "CheckoutRequestID": checkout,
        }
        return self.post("/mpesa/stkpushquery/v1/query", {**body, **changes})

    def paid(self, msisdn: str = NORMAL, amount: int = 1500) -> str:
        """Push and let the phone's owner pay; return the receipt. The callback stays in `hooks`."""
        checkout = self.push(msisdn, Amount=amount).json()["CheckoutRequestID"]
        if self.control("GET", f"/phone/prompts?msisdn={msisdn}"):
            self.control("POST", f"/phone/prompts/{checkout}", {"action": "pin", "pin": "1234"})
        else:
            self.clock.advance(1)
            wait_for(lambda: self.simulator.stk.pushes()[0]["result"])
        self.clock.advance(20)
        return str(self.simulator.stk.pushes()[0]["receipt"])

    def credential(self, password: str | None = None) -> str:
        certificate = x509.load_pem_x509_certificate(self.account.values["certificate"].encode())
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        text = self.account.secrets["initiator_password"] if password is None else password
        return base64.b64encode(key.encrypt(text.encode(), padding.PKCS1v15())).decode()

    def initiator_body(self, **fields: Any) -> dict[str, Any]:
        body = {
            "Initiator": self.account.values["initiator_name"],
            "SecurityCredential": self.credential(),
            "Remarks": "refund",
            "ResultURL": f"{self.hooks.url}/cb/abc123/r",
            "QueueTimeOutURL": f"{self.hooks.url}/cb/abc123/t",
        }
        return {key: value for key, value in {**body, **fields}.items() if value is not None}

    def callbacks(self, count: int, path: str = "/cb") -> list[Received]:
        """Let time pass until results are due; return what came."""
        self.clock.advance(1)
        return self.hooks.wait(count, path)

    def quiet(self) -> None:
        """Wait until nothing is planned or being sent at this moment."""
        open_states = "SELECT 1 FROM jobs WHERE state IN ('begun', 'held') OR (state = 'pending' AND due <= ?)"
        wait_for(lambda: not self.running.store.rows(open_states, self.clock.now()))


def assert_error(answer: requests.Response, status: int, code: str, message: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["errorCode"], body["errorMessage"]) == (status, code, message)
    assert list(body) == ["requestId", "errorCode", "errorMessage"]
    assert re.fullmatch(r"\d{5}-\d{7}-1", body["requestId"])
