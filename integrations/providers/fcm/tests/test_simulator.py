"""The fake as a plain client meets it; shares no code with the adapter."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from integrations.providers.fcm.simulator import FcmSimulator
from integrations.providers.fcm.simulator.fake import ALWAYS, FIRST_TIME, MAGIC
from integrations.providers.fcm.tests.hub import Hub

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def jwt(hub: Hub, *, header: Mapping[str, Any] | None = None, **changed: Any) -> str:
    own = json.loads(hub.account.secrets["service_account"])
    now = int(hub.clock.now())
    claims = {
        "iss": own["client_email"],
        "scope": SCOPE,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": now,
        "exp": now + 3600,
    }
    head = {"alg": "RS256", "typ": "JWT", "kid": own["private_key_id"], **(header or {})}
    signed = f"{encoded(head)}.{encoded({**claims, **changed})}"
    key: Any = load_pem_private_key(own["private_key"].encode(), None)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def ask_token(hub: Hub, assertion: str, grant: str = GRANT) -> requests.Response:
    return requests.post(f"{hub.url}/token", data={"grant_type": grant, "assertion": assertion}, timeout=5)


def token(hub: Hub) -> str:
    answer = ask_token(hub, jwt(hub))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def post(hub: Hub, body: Any, bearer: str | None = None, project: str = "demo-school-push") -> requests.Response:
    headers = {"Authorization": f"Bearer {token(hub) if bearer is None else bearer}"}
    return requests.post(f"{hub.url}/v1/projects/{project}/messages:send", json=body, headers=headers, timeout=5)


def fcm_code(answer: requests.Response) -> str:
    details = answer.json()["error"].get("details", [])
    return next((each["errorCode"] for each in details if each["@type"].endswith("fcm.v1.FcmError")), "")


def fields(answer: requests.Response) -> list[str]:
    details = answer.json()["error"].get("details", [])
    found = [each["fieldViolations"] for each in details if each["@type"].endswith("google.rpc.BadRequest")]
    return [each["field"] for violations in found for each in violations]


def test_demo_accounts(keys: Path, tmp_path: Path) -> None:
    accounts = FcmSimulator.demo_accounts(keys)
    assert accounts == FcmSimulator.demo_accounts(keys)
    assert [(each.label, dict(each.values), list(each.secrets)) for each in accounts] == [
        ("school", {"android_channel": "news"}, ["service_account"]),
        ("studio", {"android_channel": "news"}, ["service_account"]),
    ]
    files = [json.loads(each.secrets["service_account"]) for each in accounts]
    assert [each["project_id"] for each in files] == ["demo-school-push", "demo-studio-push"]
    assert files[0]["private_key"] != files[1]["private_key"]
    assert "PRIVATE" not in repr(accounts)


# --- signing in


def test_a_signed_assertion_gives_a_token(school: Hub) -> None:
    answer = ask_token(school, jwt(school))
    assert answer.status_code == 200
    assert re.fullmatch(r"ya29\.c\.[\w-]{64}", answer.json().pop("access_token"))
    assert {key: value for key, value in answer.json().items() if key != "access_token"} == {
        "expires_in": 3599,
        "token_type": "Bearer",
    }


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"iss": "nobody@x.iam.gserviceaccount.com"}, "invalid_grant"),
        ({"iss": "hub-push@demo-studio-push.iam.gserviceaccount.com"}, "invalid_grant"),
        ({"aud": "https://evil.example/token"}, "invalid_grant"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope"),
        ({"exp": 1_783_660_526 + 3601}, "invalid_grant"),
        ({"iat": 1_783_660_526 - 3700, "exp": 1_783_660_526 - 100}, "invalid_grant"),
        ({"iat": 1_783_660_526 + 301}, "invalid_grant"),
        ({"exp": "soon"}, "invalid_grant"),
        ({"header": {"alg": "none"}}, "invalid_grant"),
        ({"header": {"kid": "another"}}, "invalid_grant"),
    ],
)
def test_assertions_that_are_refused(school: Hub, changed: dict[str, Any], error: str) -> None:
    answer = ask_token(school, jwt(school, **changed))
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["error_description"]


def test_every_part_of_the_assertion_is_signed(school: Hub) -> None:
    good = jwt(school)
    for index, part in enumerate(good.split(".")):
        middle = len(part) // 2
        parts = good.split(".")
        parts[index] = part[:middle] + ("A" if part[middle] != "A" else "B") + part[middle + 1 :]
        assert ask_token(school, ".".join(parts)).status_code == 400, index
    for bad in ("", "a.b", "a.b.c", good + ".x", good + "=", good.rsplit(".", 1)[0] + "."):
        assert ask_token(school, bad).status_code == 400, bad
    assert ask_token(school, good).status_code == 200


def test_other_grants_and_bodies(school: Hub) -> None:
    answer = ask_token(school, jwt(school), grant="client_credentials")
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    answer = requests.post(f"{school.url}/token", json={"grant_type": GRANT, "assertion": jwt(school)}, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_token_ends(school: Hub) -> None:
    bearer = token(school)
    school.clock.advance(3598)
    assert post(school, {"message": {"token": "t"}}, bearer).status_code == 200
    school.clock.advance(1)
    answer = post(school, {"message": {"token": "t"}}, bearer)
    assert (answer.status_code, answer.json()["error"]["status"], fcm_code(answer)) == (401, "UNAUTHENTICATED", "")
    assert len(school.messages()) == 1


@pytest.mark.parametrize("bearer", ["", "ya29.c.made-up", "x y"])
def test_nobody_sends_without_a_token(school: Hub, bearer: str) -> None:
    assert post(school, {"message": {"token": "t"}}, bearer).status_code == 401
    assert school.messages() == []


# --- sending


def test_the_documented_example_is_taken_in_both_spellings(school: Hub) -> None:
    message = {
        "token": "dXk3c0pQ:APA91bH",
        "notification": {"title": "Order shipped", "body": "Arrives today", "image": "https://cdn.example.org/a.png"},
        "data": {"hub_message": "m7", "deeplink": "app://orders/1042"},
        "android": {
            "priority": "high",
            "ttl": "3600s",
            "collapse_key": "order-1042",
            "notification": {"channel_id": "orders", "tag": "order-1042"},
        },
        "apns": {
            "headers": {"apns-priority": "10", "apns-expiration": "1795252600", "apns-collapse-id": "order-1042"},
            "payload": {"aps": {"sound": "default", "badge": 1}},
        },
        "webpush": {
            "headers": {"TTL": "3600", "Urgency": "high"},
            "fcm_options": {"link": "https://shop.example.org/orders/1042"},
        },
        "fcm_options": {"analytics_label": "order_shipped"},
    }
    answer = post(school, {"validate_only": False, "message": message})
    assert answer.status_code == 200
    assert re.fullmatch(r"projects/demo-school-push/messages/0:\d{16}%[0-9a-f]{16}", answer.json()["name"])
    camel = {
        "token": "dXk3c0pQ:APA91bH",
        "notification": {"title": "Second"},
        "android": {
            "priority": "HIGH",
            "collapseKey": "order-1042",
            "notification": {"channelId": "orders", "tag": "order-1042"},
        },
        "fcmOptions": {"analyticsLabel": "x"},
    }
    assert post(school, {"validateOnly": False, "message": camel}).status_code == 200
    assert [row["collapse_key"] for row in school.messages()] == ["order-1042", "order-1042"]
    assert school.screen("dXk3c0pQ:APA91bH") == ["Second"], "the tag replaces the first"


def test_validate_only_keeps_nothing(school: Hub) -> None:
    answer = post(school, {"validate_only": True, "message": {"token": "t", "notification": {"title": "x"}}})
    assert answer.json() == {"name": "projects/demo-school-push/messages/fake_message_id"}
    assert fcm_code(post(school, {"validate_only": True, "message": {"token": "unreg-1"}})) == "UNREGISTERED"
    assert school.messages() == []


@pytest.mark.parametrize(
    ("message", "field", "code"),
    [
        ({}, "message", "INVALID_ARGUMENT"),
        ({"notification": {"title": "x"}}, "message", "INVALID_ARGUMENT"),
        ({"token": "t", "topic": "news"}, "message", ""),
        ({"token": "t", "to": "x"}, "message", ""),
        ({"token": 7}, "message.token", ""),
        ({"topic": "/topics/news"}, "message.topic", "INVALID_ARGUMENT"),
        ({"token": "t", "data": {"a": "b", "n": 12}}, "message.data[1].value", ""),
        ({"token": "t", "data": []}, "message.data", ""),
        ({"token": "t", "data": {"from": "x"}}, "message.data", "INVALID_ARGUMENT"),
        ({"token": "t", "data": {"google.c": "x"}}, "message.data", "INVALID_ARGUMENT"),
        ({"token": "t", "notification": {"sound": "x"}}, "message.notification", ""),
        ({"token": "t", "notification": "x"}, "message.notification", ""),
        ({"token": "t", "android": {"priority": "urgent"}}, "message.android.priority", ""),
        ({"token": "t", "android": {"priority": 5}}, "message.android.priority", ""),
        ({"token": "t", "android": {"ttl": 3600}}, "message.android.ttl", ""),
        ({"token": "t", "android": {"ttl": "2419201s"}}, "message.android.ttl", "INVALID_ARGUMENT"),
        ({"token": "t", "android": {"ttl": "-1s"}}, "message.android.ttl", "INVALID_ARGUMENT"),
        (
            {"token": "t", "android": {"notification": {"notification_count": "1"}}},
            "message.android.notification.notification_count",
            "",
        ),
        ({"token": "t", "apns": {"headers": {"apns-priority": 10}}}, "message.apns.headers[0].value", ""),
        (
            {"token": "t", "webpush": {"fcm_options": {"link": "http://x"}}},
            "message.webpush.fcm_options.link",
            "INVALID_ARGUMENT",
        ),
    ],
)
def test_what_is_refused_names_the_field(school: Hub, message: dict[str, Any], field: str, code: str) -> None:
    answer = post(school, {"message": message})
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert (fields(answer), fcm_code(answer)) == ([field], code)
    assert school.messages() == []


def test_the_documented_answer_to_a_number_in_data(school: Hub) -> None:
    answer = post(school, {"message": {"token": "t", "data": {"n": 12}}})
    text = "Invalid value at 'message.data[0].value' (TYPE_STRING), 12"
    assert answer.json()["error"] == {
        "code": 400,
        "message": text,
        "status": "INVALID_ARGUMENT",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "message.data[0].value", "description": text}],
            }
        ],
    }


@pytest.mark.parametrize(("target", "limit"), [("token", 4096), ("topic", 2048), ("condition", 2048)])
def test_how_much_fits(school: Hub, target: str, limit: int) -> None:
    message = {target: "t", "data": {"key": "é" * 10}, "notification": {"title": "x" * (limit - 23)}}
    assert post(school, {"message": message}).status_code == 200
    message["notification"] = {"title": "x" * (limit - 22)}
    answer = post(school, {"message": message})
    assert (answer.status_code, answer.json()["error"].get("details")) == (400, None)
    assert len(school.messages()) == 1


def test_bodies_that_are_no_json_object(school: Hub) -> None:
    bearer, url = token(school), f"{school.url}/v1/projects/demo-school-push/messages:send"
    for body, kind in ((b"{", "application/json"), (b"[]", "application/json"), (b"{}", "text/plain")):
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": kind}
        assert requests.post(url, data=body, headers=headers, timeout=5).status_code == 400


def test_projects(school: Hub) -> None:
    foreign = post(school, {"message": {"token": "t"}}, project="demo-studio-push")
    assert (foreign.status_code, foreign.json()["error"]["status"], fcm_code(foreign)) == (403, "PERMISSION_DENIED", "")
    unknown = post(school, {"message": {"token": "t"}}, project="nobodys-push")
    assert (unknown.status_code, unknown.json()["error"].get("details")) == (404, None)
    assert school.messages() == []


@pytest.mark.parametrize(
    ("device", "status", "code", "then"),
    [
        ("unreg-1", 404, "UNREGISTERED", 404),
        ("badtok-1", 400, "INVALID_ARGUMENT", 400),
        ("mismatch-1", 403, "SENDER_ID_MISMATCH", 403),
        ("apnsauth-1", 401, "THIRD_PARTY_AUTH_ERROR", 401),
        ("quota-1", 429, "QUOTA_EXCEEDED", 200),
        ("down-1", 503, "UNAVAILABLE", 200),
        ("expire-1", 401, "", 200),
    ],
)
def test_magic_tokens(school: Hub, device: str, status: int, code: str, then: int) -> None:
    bearer, body = token(school), {"message": {"token": device}}
    answer = post(school, body, bearer)
    assert (answer.status_code, fcm_code(answer)) == (status, code)
    assert answer.headers.get("Retry-After") == ("2" if device == "quota-1" else None)
    assert post(school, body, bearer).status_code == then
    assert len(school.messages()) == (1 if then == 200 else 0)


def test_the_list_of_magic_tokens_is_whole() -> None:
    assert {row.value for row in MAGIC} == {f"token {begin}…" for begin in (*ALWAYS, *FIRST_TIME)} | {"any other token"}


def test_50_sends_at_once(school: Hub) -> None:
    bearer = token(school)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: post(school, {"message": {"token": f"t{n}"}}, bearer), range(50)))
    assert [answer.status_code for answer in answers] == [200] * 50
    assert len({answer.json()["name"] for answer in answers}) == len(school.messages()) == 50


# --- topics and controls


def change(hub: Hub, body: Any, verb: str = "batchAdd", **headers: str) -> requests.Response:
    sent = {"Authorization": f"Bearer {token(hub)}", "access_token_auth": "true", **headers}
    return requests.post(f"{hub.url}/iid/v1:{verb}", json=body, headers=sent, timeout=5)


def test_topics(school: Hub) -> None:
    good = {"to": "/topics/news", "registration_tokens": ["a", "unreg-1"]}
    answer = change(school, good)
    assert (answer.status_code, answer.json()) == (200, {"results": [{}, {"error": "NOT_FOUND"}]})
    assert change(school, good, access_token_auth="false").status_code == 401
    assert change(school, good, Authorization="Bearer x").status_code == 401
    for bad in (
        {**good, "to": "news"},
        {**good, "to": "/topics/two words"},
        {**good, "registration_tokens": []},
        {**good, "registration_tokens": ["t"] * 1001},
        {**good, "registration_tokens": [1]},
    ):
        assert change(school, bad).status_code == 400, bad
    assert school.control("GET", "/state")["topics"] == {"news": ["a"]}
    assert change(school, good, "batchRemove").json() == {"results": [{}, {"error": "NOT_FOUND"}]}
    assert school.control("GET", "/state")["topics"] == {}


def test_controls(school: Hub) -> None:
    assert school.control("PUT", "/devices/t", {"registered": False}) == {"token": "t", "registered": False}
    assert fcm_code(post(school, {"message": {"token": "t"}})) == "UNREGISTERED"
    school.control("PUT", "/devices/t", {"registered": "no"}, status=400)
    school.control("PUT", "/settings", {"token_lifetime": 60})
    assert ask_token(school, jwt(school)).json()["expires_in"] == 60
    assert school.control("GET", "/state")["accounts"] == [
        {"label": "school", "project_id": "demo-school-push"},
        {"label": "studio", "project_id": "demo-studio-push"},
    ]


def test_paths_that_do_not_exist(school: Hub) -> None:
    for method, path, status in (("POST", "/fcm/send", 404), ("GET", "/token", 405), ("POST", "/batch", 404)):
        answer = requests.request(method, school.url + path, timeout=5)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)


def test_no_secret_is_shown(school: Hub) -> None:
    assertion = jwt(school)
    bearer = ask_token(school, assertion).json()["access_token"]
    post(school, {"message": {"token": "t"}}, bearer)
    paths = ("/", "/live", "/control/fcm/requests", "/control/fcm/state", "/control/fcm/messages")
    shown = "".join(requests.get(school.running.url + path, timeout=5).text for path in paths)
    assert "demo-school-push" in shown
    for secret in (assertion, bearer, json.loads(school.account.secrets["service_account"])["private_key"].splitlines()[1]):
        assert secret not in shown
    assert bearer.encode() not in b"".join(path.read_bytes() for path in school.running.store.state_dir.glob("simulators*"))
