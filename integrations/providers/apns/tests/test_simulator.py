"""The simulator asked directly: it must refuse what Apple refuses, or the tests against it prove little."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded

from integrations.contracts.adapter import Reply
from integrations.http.client import SilentRecorder
from integrations.http.http2 import Http2Client
from integrations.http.masking import Mask
from integrations.providers.apns.jwt import mint
from integrations.providers.apns.simulator import ApnsSimulator
from integrations.providers.apns.tests.conftest import PEM, TOKEN
from integrations.simulators import running_simulators

ALERT = {"aps": {"alert": "Hello"}}
ID = "123e4567-e89b-12d3-a456-426655440000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("apns")


@pytest.fixture(scope="module")
def simulator(folder: Path) -> Iterator[running_simulators]:
    with running_simulators([ApnsSimulator], state_dir=folder) as running:
        yield running
        assert running.violations == []


@pytest.fixture
def base(simulator: running_simulators) -> str:
    simulator.store.reset(keep_setup=False)
    return f"{simulator.url}/apns"


def bearer(folder: Path, *, age: float = 0, **changes: str) -> str:
    account = ApnsSimulator.demo_accounts(folder)[0]
    given = {"team_id": account.values["team_id"], "key_id": account.values["key_id"], "pem": account.secrets["private_key"]}
    return "bearer " + mint(**{**given, **changes}, at=datetime.now(UTC) - timedelta(seconds=age))


def post(base: str, authorization: str, body: Any = ALERT, *, path: str = "", method: str = "POST", **headers: str) -> Reply:
    """Make one request on a connection of its own; `apns_x` becomes the header `apns-x`, an empty value leaves it out."""
    client = Http2Client(provider="p", base_url=base, mask=Mask(), recorder=SilentRecorder(), timeout=(2.0, 5.0))
    given = {"apns_topic": "com.example.school", "apns_push_type": "alert", "authorization": authorization, **headers}
    return client.request(
        method,
        path or f"/3/device/{TOKEN}",
        operation="send",
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={name.replace("_", "-"): value for name, value in given.items() if value},
    )


def said(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json()["reason"].text()


def taken(simulator: running_simulators) -> int:
    return len(simulator.store.find("apns", "message"))


def test_taken_with_our_id_or_one_of_its_own(simulator: running_simulators, base: str, folder: Path) -> None:
    ours = post(base, bearer(folder), apns_id=ID)
    theirs = post(base, bearer(folder))
    assert (ours.status, ours.body, ours.headers["apns-id"]) == (200, b"", ID)
    assert len(theirs.headers["apns-id"]) == 36
    assert "apns-unique-id" not in ours.headers
    assert [row.data["ref"] for row in simulator.store.find("apns", "message")] == [theirs.headers["apns-id"], ID]
    development = post(base, bearer(folder), path=f"/sandbox/3/device/0de5{TOKEN}")
    assert len(development.headers["apns-unique-id"]) == 36


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"apns_topic": ""}, (400, "MissingTopic")),
        ({"apns_topic": "com.example.studio"}, (400, "TopicDisallowed")),
        ({"apns_id": "no-uuid"}, (400, "BadMessageId")),
        ({"apns_id": ID.upper()}, (400, "BadMessageId")),
        ({"apns_collapse_id": "k" * 65}, (400, "BadCollapseId")),
        ({"apns_expiration": "tomorrow"}, (400, "BadExpirationDate")),
        ({"apns_priority": "7"}, (400, "BadPriority")),
        ({"apns_push_type": ""}, (400, "InvalidPushType")),
        ({"apns_push_type": "shout"}, (400, "InvalidPushType")),
        ({"apns_push_type": "background", "apns_priority": "10"}, (400, "BadPriority")),
        ({"apns_push_type": "background", "apns_priority": "5"}, (400, "InvalidPushType")),
        ({"body": {"aps": {"content-available": 1}}}, (400, "InvalidPushType")),
        ({"body": {"aps": {}}}, (400, "PayloadEmpty")),
        ({"body": {"alert": "Hello"}}, (400, "PayloadEmpty")),
        ({"body": b"{"}, (400, "PayloadEmpty")),
        ({"body": b""}, (400, "PayloadEmpty")),
        ({"body": {"aps": {"alert": "x" * 4096}}}, (413, "PayloadTooLarge")),
        ({"path": "/3/device/xyz"}, (400, "BadDeviceToken")),
        ({"path": f"/sandbox/3/device/{TOKEN}"}, (400, "BadDeviceToken")),
        ({"path": "/3/devices"}, (404, "BadPath")),
        ({"method": "PUT"}, (405, "MethodNotAllowed")),
        ({"authorization": ""}, (403, "MissingProviderToken")),
        ({"authorization": "basic abc"}, (403, "MissingProviderToken")),
        ({"authorization": "bearer a.b.c"}, (403, "InvalidProviderToken")),
        ({"authorization": "bearer rubbish"}, (403, "InvalidProviderToken")),
    ],
)
def test_refusals(
    simulator: running_simulators, base: str, folder: Path, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert said(post(base, **{"authorization": bearer(folder), **changes})) == expected
    assert taken(simulator) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pem": PEM}, "InvalidProviderToken"),
        ({"team_id": "STUD10TEAM"}, "InvalidProviderToken"),
        ({"key_id": "STUD10KEY1"}, "InvalidProviderToken"),
        ({"age": 3700}, "ExpiredProviderToken"),
    ],
)
def test_tokens_that_are_not_good(
    simulator: running_simulators, base: str, folder: Path, changes: dict[str, Any], reason: str
) -> None:
    assert said(post(base, bearer(folder, **changes))) == (403, reason)
    assert taken(simulator) == 0


def test_a_token_changed_by_one_byte(simulator: running_simulators, base: str, folder: Path) -> None:
    good = bearer(folder)
    for at in (len("bearer ") + 3, good.index(".") + 4, good.rindex(".") + 9):
        changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
        assert said(post(base, changed)) == (403, "InvalidProviderToken")
    assert taken(simulator) == 0


def test_http_1_gets_no_further(simulator: running_simulators, base: str, folder: Path) -> None:
    reply = requests.post(f"{base}/3/device/{TOKEN}", json=ALERT, headers={"authorization": bearer(folder)}, timeout=5)
    assert (reply.status_code, taken(simulator)) == (505, 0)


def test_its_log_shows_no_token(simulator: running_simulators, base: str, folder: Path) -> None:
    authorization = bearer(folder)
    post(base, authorization)
    (row,) = simulator.store.rows("SELECT * FROM requests")
    assert authorization.removeprefix("bearer ") not in json.dumps(row)
    assert authorization.rpartition(".")[0] not in json.dumps(simulator.simulator("apns").state())


# --- the server below it


def converse(simulator: running_simulators, requests_made: list[tuple[str, str, bytes]]) -> dict[int, tuple[str, bytes]]:
    """Open one stream for each (method, path, body), all before the first answer is read; return status and body by stream."""
    host, port = simulator.url.removeprefix("http://").split(":")
    client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    client.initiate_connection()
    for number, (method, path, body) in enumerate(requests_made):
        head = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path)]
        client.send_headers(2 * number + 1, head, end_stream=not body)
        if body:
            client.send_data(2 * number + 1, body, end_stream=True)
    found: dict[int, tuple[str, bytes]] = {}
    open_streams = len(requests_made)
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(client.data_to_send())
        while open_streams:
            data = raw.recv(65_536)
            assert data, "the server hung up"
            for event in client.receive_data(data):
                if isinstance(event, ResponseReceived):
                    found[event.stream_id or 0] = (str(dict(event.headers or ())[":status"]), b"")
                elif isinstance(event, DataReceived):
                    status, body = found[event.stream_id or 0]
                    found[event.stream_id or 0] = (status, body + (event.data or b""))
                    client.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                elif isinstance(event, StreamEnded):
                    open_streams -= 1
            raw.sendall(client.data_to_send())
    return found


def test_streams_side_by_side_and_every_route(simulator: running_simulators, base: str) -> None:
    found = converse(
        simulator,
        [("GET", "/healthz", b""), ("POST", "/apns/3/device/ab", b"{}"), ("GET", "/", b""), ("POST", "/control/none", b"{}")],
    )
    assert json.loads(found[1][1]) == {"status": "ok", "simulators": ["apns"]}
    assert found[3] == ("403", b'{"reason": "MissingProviderToken"}')
    assert found[5][1] == requests.get(f"{simulator.url}/", timeout=5).content
    assert found[7][0] == "404"


def test_an_answer_larger_than_the_window_comes_whole(simulator: running_simulators, base: str) -> None:
    for number in range(150):
        simulator.store.put("apns", "message", str(number), {"id": str(number), "filler": "x" * 2000}, ref="school")
    ((status, body),) = converse(simulator, [("GET", "/control/apns/messages", b"")]).values()
    assert (status, len(json.loads(body)["messages"])) == ("200", 150)
    assert len(body) > 300_000


def test_a_body_that_is_too_large_is_refused(base: str, folder: Path) -> None:
    assert post(base, bearer(folder), b"x" * (4 * 1024 * 1024 + 1)).status == 413


def test_a_broken_protocol_ends_the_connection_and_nothing_else(simulator: running_simulators, base: str) -> None:
    host, port = simulator.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        data_on_stream_0 = b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x"
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + data_on_stream_0)
        while raw.recv(65_536):
            pass
    assert requests.get(f"{simulator.url}/healthz", timeout=5).status_code == 200
