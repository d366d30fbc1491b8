"""docs/integrating.md is run: commands with curl against the live hub, Python as it stands, tables against the code."""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from standardwebhooks.webhooks import WebhookVerificationError

from integrations import events
from integrations.contracts import errors
from integrations.contracts.failures import VOCABULARY, Decision
from integrations.contracts.money import Money
from integrations.events import DomainEvent
from payments import facade
from payments.models import Status
from payments.transitions import TRANSITIONS
from tests.factories import make_config
from tests.flows.conftest import School, school, until  # noqa: F401 the flows' own school, with its simulators
from tests.flows.test_gateways import connect, payer
from webhooks.outbound.event_types import CATALOGUE

PAGE = Path(settings.BASE_DIR) / "docs/integrating.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|^<!-- then (.+?) -->$", re.MULTILINE | re.DOTALL)
RECEIVER = "https://school.example/hub-events"
REMEMBERED = {"pay": "PAYMENT", "re": "REFUND", "we": "WEBHOOK", "rd": "DELIVERY"}
PHONE = "254712345678"
TENANT = "springfield-school"


@dataclass(frozen=True)
class Block:
    """A fenced block, or (`then`) what a comment says happens in the world outside before the next one."""

    kind: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block("then", match[3], line) if match[3] else Block(match[1], match[2], line))
    return found


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table with this first line, heads and ruler left out."""
    lines = PAGE.read_text("utf-8").split(f"\n{heading}\n", 1)[1].splitlines()[1:]
    end = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]


def holds(expected: Any, actual: Any) -> bool:
    """Tell whether `actual` has all that `expected` shows; a text that ends in `...` shows its beginning."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(name in actual and holds(each, actual[name]) for name, each in expected.items())
    if isinstance(expected, list):
        same = isinstance(actual, list) and len(actual) == len(expected)
        return same and all(holds(each, other) for each, other in zip(expected, actual, strict=True))
    if isinstance(expected, str) and expected.endswith("...") and isinstance(actual, str):
        return actual.startswith(expected[:-3]) and len(actual) > len(expected) - 3
    return type(expected) is type(actual) and bool(expected == actual)


@dataclass
class Reader:
    """Somebody who works through the page from top to bottom, in one shell and one Python session."""

    school: School
    until: Callable[..., Any]
    folder: Path
    environment: dict[str, str]
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "integrating"})
    answer: Any = None

    def read(self, block: Block) -> None:
        getattr(self, f"_{block.kind}")(block)

    def _sh(self, block: Block) -> None:
        script = block.text.replace(RECEIVER, f"{self.school.simulator_url}/sink/finance")
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, f"line {block.line}: {ran.stderr}"
        self.answer = json.loads(ran.stdout) if ran.stdout else None
        self._remember(self.answer)

    def _remember(self, answer: Any) -> None:
        """Keep the id that the next commands speak of: of the answer, or of the only row of a list."""
        if isinstance(answer, dict) and len(answer.get("results", [])) == 1:
            answer = answer["results"][0]
        if isinstance(answer, dict) and "id" in answer:
            self.environment[REMEMBERED[answer["id"].partition("_")[0]]] = answer["id"]
            if "secret" in answer:
                os.environ["HUB_WEBHOOK_SECRET"] = answer["secret"]
                self.school.control("PUT", "sink/finance", json={"secret": answer["secret"]})

    def _json(self, block: Block) -> None:
        expected = json.loads(block.text)
        assert holds(expected, self.answer), f"line {block.line}: the answer was {json.dumps(self.answer, indent=2)}"

    def _python(self, block: Block) -> None:
        if ">>>" not in block.text:
            exec(compile(block.text, f"{PAGE.name}:{block.line}", "exec"), self.names)
            return
        session = doctest.DocTestParser().get_doctest(block.text, self.names, PAGE.name, PAGE.name, block.line)
        out: list[str] = []
        doctest.DocTestRunner(verbose=False).run(session, out=out.append, clear_globs=False)
        assert out == [], "".join(out)
        self.names |= session.globs

    def _then(self, block: Block) -> None:
        for pattern, act in HAPPENINGS.items():
            if match := re.fullmatch(pattern, block.text):
                return act(self, *match.groups())
        pytest.fail(f"line {block.line}: nobody here knows how this happens: {block.text}")


# --- what happens in the world outside


def payer_pays(reader: Reader) -> None:
    payment = reader.school.payments()[-1]
    assert payment.status in (Status.PROCESSING, Status.REQUIRES_ACTION)
    if payment.method_type == "redirect":
        payer(reader.school, payment.provider, payment.pk, "approve")
    else:
        reader.school.enter_pin(PHONE)
    reader.until(lambda: reader.school.payment(payment.pk).status == Status.SUCCEEDED)
    # Let all be told that will be: a prompt is confirmed as incoming money too, and a reversal needs the receipt number.
    reader.until(lambda: reader.school.payment(payment.pk).receipt)


def customer_sends(reader: Reader, shillings: str, account: str) -> None:
    before = len(reader.school.payments())
    sent = {"amount": int(shillings), "msisdn": PHONE, "bill_ref": account, "name": "JANE WANJIKU"}
    reader.school.control("POST", "mpesa/c2b", json={"shortcode": reader.school.mpesa.values["shortcode"], **sent})

    def arrived() -> bool:
        found = reader.school.payments()
        return len(found) == before + 1 and found[-1].status == Status.SUCCEEDED

    reader.until(arrived)


def payer_pays_and_the_event_arrives(reader: Reader, invoice: str) -> None:
    facade.request_payment(
        tenant=TENANT, key=f"{invoice}:1", amount=150_000, currency="KES", method="mobile_money", phone=f"+{PHONE}",
        provider="mpesa", reference=("invoice", invoice),
    )  # fmt: skip
    payer_pays(reader)
    (event,) = reader.until(lambda: reader.school.control("GET", "sink/finance"))
    assert event["verified"] is True
    receive, body = reader.names["receive"], event["body"].encode()
    with pytest.raises(WebhookVerificationError):
        receive(event["headers"], body.replace(b"150000", b"950000"))
    assert (reader.names["paid"], reader.names["seen"]) == ({}, set())
    for _again in range(2):
        receive(event["headers"], body)
    assert len(reader.names["seen"]) == 1


def django_starts(reader: Reader, config: str) -> None:
    for _again in range(2):
        reader.names[config].ready(None)


HAPPENINGS: dict[str, Callable[..., None]] = {
    r"the payer pays": payer_pays,
    r"a customer sends KES (\d+) to account (\S+)": customer_sends,
    r"the payer of invoice (\S+) pays and receive gets the event": payer_pays_and_the_event_arrives,
    r"Django starts (\w+)": django_starts,
}


@pytest.fixture
def reader(
    school: School,  # noqa: F811
    until: Callable[..., Any],  # noqa: F811
    live_server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Reader:
    """A school with the gateways of the page, its paybill registered; what the page subscribes ends with the test."""
    assert school.tenant.slug == TENANT
    monkeypatch.setitem(events._handlers, DomainEvent, list(events._handlers[DomainEvent]))
    monkeypatch.setenv("HUB_WEBHOOK_SECRET", "")
    connect(school, live_server, "pesapal")
    cards = make_config(school.tenant, "stripe", account="school")
    school.control("PUT", "stripe/accounts/school", json={"webhook_url": f"{live_server.url}/hooks/{cards.hook_token}/events"})
    school.control("PUT", "mpesa/settings", json={"auto_delay": 0.1, "late_delay": 0.5})
    answer = school.api.post("/api/v1/integrations/setup/mpesa/webhooks", {"config": school.mpesa.pk}, format="json")
    assert answer.status_code == 200, answer.json()
    key = school.api._credentials["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    environment = {"PATH": os.environ["PATH"], "HUB": live_server.url, "KEY": key, "no_proxy": "*"}
    return Reader(school, until, tmp_path, environment)


@pytest.mark.django_db(transaction=True)
def test_the_page_does_what_it_says_from_top_to_bottom(reader: Reader) -> None:
    found = blocks(PAGE.read_text("utf-8"))
    kinds = [block.kind for block in found]
    assert (kinds.count("sh") >= 10, kinds.count("python") >= 8, kinds.count("then") >= 6) == (True, True, True)
    for block in found:
        reader.read(block)
    assert (reader.folder / "receipt.pdf").read_bytes().startswith(b"%PDF-")


def test_a_block_that_drifts_is_noticed() -> None:
    assert holds({"id": "pay_...", "n": 1}, {"id": "pay_01", "n": 1, "more": None}) is True
    for actual in ({"id": "re_01", "n": 1}, {"id": "pay_", "n": 1}, {"id": "pay_01", "n": 2}, {"id": "pay_01"}, [], None):
        assert holds({"id": "pay_...", "n": 1}, actual) is False
    assert holds([{"a": 1}], [{"a": 1}, {"a": 1}]) is False
    assert (holds({"a": None}, {}), holds(True, 1), holds(False, 0)) == (False, False, False)


def test_every_fence_is_of_a_kind_that_is_run() -> None:
    text = PAGE.read_text("utf-8")
    found = blocks(text)
    assert {block.kind for block in found} == {"sh", "json", "python", "then"}
    assert text.count("```") == 2 * sum(block.kind != "then" for block in found)
    assert text.count("<!--") == sum(block.kind == "then" for block in found)
    for before, block in pairwise(found):
        if block.kind == "json":
            assert before.kind == "sh", f"line {block.line}: an answer to nothing"


def test_amounts_are_minor_units() -> None:
    rows = table("| you mean | `amount` | `currency` |")
    assert len(rows) == 4
    for meant, amount, currency in rows:
        number = re.match(r"[\d,.]+", meant)
        assert number is not None
        assert Money.from_decimal(number[0].replace(",", ""), currency) == Money(int(amount), currency)


def test_states_are_those_of_the_transition_table() -> None:
    rows = table("| `status` | it means | you | can become |")
    assert [row[0] for row in rows] == [f"`{status.value}`" for status in Status]
    for name, _meaning, _advice, targets in rows:
        expected = {status.value for status in TRANSITIONS[Status(name.strip("`"))]}
        assert set(re.findall(r"`(\w+)`", targets)) == expected, name


def test_failures_are_those_of_the_vocabulary() -> None:
    rows = table("| `code` | `type` | `decision` | `message` |")
    found = {code.strip("`"): (kind.strip("`"), decision.strip("`"), text) for code, kind, decision, text in rows}
    assert found == {code: (kind.value, decision.value, text) for code, (kind, decision, text) in VOCABULARY.items()}
    assert [row[0].strip("`") for row in table("| `decision` | you |")] == [decision.value for decision in Decision]


def test_errors_have_the_status_that_the_page_gives_them() -> None:
    for statuses, names, _advice in table("| HTTP | Python | you |"):
        for name in re.findall(r"`(\w+)`", names):
            error = getattr(errors, name, None) or getattr(facade, name)
            assert str(error.status_code) in statuses, name


def test_events_are_those_of_the_catalogue() -> None:
    rows = table("| event | when |")
    expected = [(f"`{each.name}`", each.description) for each in CATALOGUE if each.name.startswith(("payment.", "payer."))]
    assert [tuple(row) for row in rows] == expected


def test_every_function_of_the_facade_is_on_the_page_and_no_other() -> None:
    text = PAGE.read_text("utf-8")
    offered = {name for name in facade.__all__ if name[0].islower()}
    for name in offered:
        assert re.search(rf"facade\.{name}\b|`{name}`", text), name
    assert set(re.findall(r"\bfacade\.(\w+)", text)) <= offered
    tree = ast.parse(Path(facade.__file__).read_text("utf-8"))
    public = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
    assert public == offered
