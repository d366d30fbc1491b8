"""The hook at its two places, over real sockets, with a simulator and a client of a provider that has a description."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.simulators import DemoAccount, SimReply, SimRequest, Simulator, route, running_simulators
from tests import plugin_vendor_specs as plugin
from tests.vendor_specs import hook as hook_module
from tests.vendor_specs.accepted import ACCEPTED, Accepted
from tests.vendor_specs.hook import Hook
from tests.vendor_specs.loader import Description, SpecViolation, description_of

TOY = {
    "openapi": "3.1.0",
    "paths": {
        "/v1/messages/{id}": {
            "get": {
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/message"}}}}},
            }
        },
        "/v1/messages": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {"to": {"type": "string"}},
                                "required": ["to"],
                                "additionalProperties": False,
                            }
                        }
                    },
                },
                "responses": {"201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/message"}}}}},
            }
        },
    },
    "components": {
        "schemas": {
            "message": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
        }
    },
}


class ToySimulator(Simulator):
    """Answers what `next_answer` says."""

    slug = "toy"
    title = "Toy"
    next_answer: Any = {"id": 1}

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return []

    @route("POST", "/v1/messages", operation="send")
    def send(self, request: SimRequest) -> SimReply:
        return SimReply.of_json(type(self).next_answer, 201)


@pytest.fixture
def hook() -> Iterator[Hook]:
    toy = Description("toy", TOY)
    found = Hook(lookup=lambda slug: toy if slug == "toy" else description_of(slug))
    found.install()
    yield found
    found.remove()


@pytest.fixture
def client(hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setattr(ToySimulator, "next_answer", {"id": 1})
    with running_simulators([ToySimulator], state_dir=tmp_path) as running:
        http = HttpClient(
            provider="toy", base_url=f"{running.url}/toy", mask=Mask(), recorder=SilentRecorder(), timeout=(2.0, 5.0)
        )

        def send(body: Any, path: str = "/v1/messages") -> Any:
            return http.request("POST", path, operation="send", json=body)

        send.running = running  # type: ignore[attr-defined]
        yield send


def test_what_is_right_passes_and_is_counted(hook: Hook, client: Callable[..., Any]) -> None:
    assert client({"to": "x"}).status == 201
    assert hook.violations == []
    assert hook.checked["toy"] == 3, "the request, the simulator's answer, the answer as received"
    assert "toy (3 checks)" in hook.summary() or "none found" in hook.summary()


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        ({"to": "x", "form": "y"}, "/v1/messages", "form"),
        ({}, "/v1/messages", "to"),
        ({"to": 5}, "/v1/messages", "to"),
        ({"to": "x"}, "/v1/mesages", "not described"),
    ],
)
def test_a_wrong_request_is_stopped_before_it_is_sent(
    hook: Hook, client: Callable[..., Any], body: Any, path: str, said: str
) -> None:
    with pytest.raises(SpecViolation, match=said):
        client(body, path)
    assert len(hook.violations) == 1
    assert client.running.store.rows("SELECT * FROM requests") == []  # type: ignore[attr-defined]


def test_a_wrong_answer_of_a_simulator_does_not_go_out(
    hook: Hook, client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToySimulator, "next_answer", {"id": "one"})
    assert client({"to": "x"}).status == 599
    assert len(hook.violations) == 1
    assert "id" in hook.violations[0]
    assert len(client.running.violations) == 1  # type: ignore[attr-defined]


def test_an_accepted_difference_passes(hook: Hook, client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Accepted("toy", r"POST /v1/messages: .*'bcc' was unexpected", "the vendor forgot bcc", lambda: None)
    monkeypatch.setattr(hook_module, "ACCEPTED", (entry,))
    assert client({"to": "x", "bcc": "y"}).status == 201
    with pytest.raises(SpecViolation, match="cc"):
        client({"to": "x", "cc": "y"})
    assert len(hook.violations) == 1


def is_needed(entry: Accepted) -> bool:
    """Tell whether the entry's example still breaks the vendor's description, in the way that the entry accepts."""
    try:
        entry.example()
    except SpecViolation as violation:
        return entry.covers(entry.slug, violation)
    return False


def test_every_accepted_difference_is_still_needed() -> None:
    for entry in ACCEPTED:
        assert entry.reason
        assert is_needed(entry), f"{entry.slug}: {entry.pattern} is no longer needed"


def test_an_entry_that_is_no_longer_needed_is_found_out() -> None:
    toy = Description("toy", TOY)

    def example(body: bytes) -> Callable[[], None]:
        return lambda: toy.check_request("POST", "/v1/messages", "", "application/json", body)

    assert is_needed(Accepted("toy", "'bcc' was unexpected", "r", example(b'{"to": "x", "bcc": "y"}')))
    assert not is_needed(Accepted("toy", "'bcc' was unexpected", "r", example(b'{"to": "x"}')))
    assert not is_needed(Accepted("toy", "'bcc' was unexpected", "r", example(b'{"to": "x", "cc": "y"}')))


@pytest.mark.skipif(description_of("stripe") is None, reason="no description of Stripe here (VENDOR_SPECS)")
def test_simulated_webhooks_are_held_against_their_component(hook: Hook) -> None:
    with pytest.raises(SpecViolation):
        hook.on_callback("stripe", "POST", "http://127.0.0.1/x", {}, json.dumps({"id": "evt_1"}).encode())
    with pytest.raises(SpecViolation, match="not JSON"):
        hook.on_callback("stripe", "POST", "http://127.0.0.1/x", {}, b"no")
    assert hook.checked["stripe"] == 2


def test_providers_without_a_description_are_left_alone(hook: Hook) -> None:
    hook.on_callback("mpesa", "POST", "http://127.0.0.1/x", {}, b"anything")
    hook.on_answer("mpesa", SimRequest("POST", "/x", {}, {}, b""), SimReply(200, b"anything"))  # type: ignore[arg-type]
    assert hook.checked == {}


def test_removing_puts_everything_back() -> None:
    before = HttpClient._send
    found = Hook(lookup=lambda _slug: None)
    found.install()
    assert HttpClient._send is not before
    found.remove()
    assert HttpClient._send is before


def test_a_violation_fails_a_test_even_where_its_exception_was_swallowed() -> None:
    class Stub:
        violations: list[str] = []

    stub = Stub()
    fixture = plugin.as_the_vendor_describes_it.__wrapped__
    kept, plugin._hooks[:] = list(plugin._hooks), [stub]
    try:
        running = fixture()
        next(running)
        stub.violations.append("toy: wrong")
        with pytest.raises(pytest.fail.Exception, match="toy: wrong"):
            next(running)
        assert stub.violations == [], "the next test starts afresh"
    finally:
        plugin._hooks[:] = kept
