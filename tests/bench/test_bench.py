"""Every scenario once, tiny: that it runs and says what it measured. How fast it was is for `make bench`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest
from standardwebhooks.webhooks import Webhook

from integrations.contracts.ids import is_id
from integrations.models import QueueItem, QueueState
from integrations.runtime import jobs as registered_jobs
from tests.bench import backlog, depth, jobs, outbound, results, scenarios, sides
from tests.bench.companion import Companion, CompanionFailed
from tests.bench.receiver import ReceiverProcess, mark_of
from tests.bench.results import Goal, Result, TooLong, code, in_turns, percentile, told, wait_until, within
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Event

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def receiver() -> Iterator[ReceiverProcess]:
    with ReceiverProcess() as running:
        yield running


@pytest.fixture(scope="module")
def engine(django_db_setup: None) -> Iterator[Companion]:
    with sides.engine() as running:
        yield running


@pytest.fixture
def _once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each run of a scenario a single time, and the bench's jobs known to this process."""
    monkeypatch.setattr(results, "TIMES", 1)
    jobs.register()
    yield
    for kind in (jobs.NOTHING, jobs.EXCHANGE):
        del registered_jobs._jobs[kind]


def sound(result: Result) -> None:
    assert result.ratio > 0
    assert all(value >= 0 for value in result.figures.values())
    row = json.loads(json.dumps(result.row()))
    assert set(row) == {"name", "says", "ratio", "figures", "goals"}
    assert len(list(result.lines())) == 1 + len(result.figures)


# --- the tools


def test_what_was_missed_is_told_and_is_an_error_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    met, missed = Goal("ratio", 1.5), Goal("p99_ms", 50.0, at_least=False)
    words, count = told([Result("x", "a / b", 2.0, {"p99_ms": 60.0}, (met, missed)), Result("y", "a / b", 2.0)])
    assert (words, count) == ("1 of 2 goals met, 1 MISSED\nx 60.00, p99_ms <= 50: MISSED", 1)
    monkeypatch.delenv("STRICT", raising=False)
    assert (code(count), code(0)) == (0, 0)
    monkeypatch.setenv("STRICT", "1")
    assert (code(count), code(0)) == (2, 0)


def test_goals_are_held_against_their_figures() -> None:
    result = Result("x", "a / b", 2.0, {"p99_ms": 60.0}, (Goal("ratio", 1.5), Goal("p99_ms", 50.0, at_least=False)))
    assert [each["met"] for each in result.row()["goals"]] == [True, False]
    assert next(iter(result.lines())).endswith("[>= 1.5: met]   [p99_ms <= 50: MISSED]")


def test_runs_are_taken_in_turns() -> None:
    taken: list[str] = []
    found = in_turns({"a": lambda: taken.append("a"), "b": lambda: taken.append("b")}, times=2)
    assert taken == ["a", "b", "a", "b"]
    assert found == {"a": [None, None], "b": [None, None]}


def test_percentiles() -> None:
    assert percentile([7.0], 99) == 7.0
    assert percentile([float(each) for each in range(101)], 99) == 99.0


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(TooLong, match="a flag"):
        wait_until(lambda: False, "a flag", seconds=0.01)
    with pytest.raises(TooLong, match="a loop"), within(0.02, "a loop"):
        signal.pause()


def test_a_companion_says_what_went_wrong() -> None:
    program = "from tests.bench.companion import serve; serve({'half': lambda of: of / 2})"
    with Companion([sys.executable, "-c", program]) as one:
        assert one.ask("half", of=3) == 1.5
        with pytest.raises(CompanionFailed, match="half: TypeError"):
            one.ask("half", of="x")
        with pytest.raises(CompanionFailed, match="KeyError"):
            one.ask("third", of=3)
    with pytest.raises(CompanionFailed, match=r"has gone|died"):
        Companion([sys.executable, "-c", "pass"]).ask("anything")


def test_backlogs_look_like_what_is_published(receiver: ReceiverProcess) -> None:
    tenant, run = sides.make_tenant(), backlog.new_run()
    endpoints = [sides.make_endpoint(tenant, f"{receiver.url}/fast/{number}") for number in range(2)]
    backlog.deliveries(tenant, endpoints, 5, run)
    events = list(Event.unscoped.filter(tenant=tenant))
    bodies = [json.loads(each.payload) for each in events]
    assert {each.pk for each in events} == {each["id"] for each in bodies}
    assert all(is_id("evt", each.pk) for each in events)
    assert {each["data"]["object"]["mark"] for each in bodies} == {mark_of(run, number) for number in range(5)}
    assert {450 < len(each.payload) < 650 for each in events} == {True}, "half a kilobyte"
    owed = Delivery.unscoped.filter(tenant=tenant)
    assert sorted(owed.values_list("endpoint_id", flat=True)) == sorted([endpoints[0].pk] * 3 + [endpoints[1].pk] * 2)
    assert len(set(owed.values_list("position", flat=True))) == 5
    assert set(owed.values_list("event_id", flat=True)) == {each.pk for each in events}


def test_a_deep_queue(receiver: ReceiverProcess) -> None:
    tenant = sides.make_tenant()
    backlog.items(tenant, 2_100)
    assert QueueItem.unscoped.filter(tenant=tenant, kind=jobs.NOTHING, state=QueueState.PENDING).count() == 2_100


# --- the scenarios


@pytest.mark.usefixtures("_once")
def test_the_hub_and_the_bare_loop_deliver(receiver: ReceiverProcess, engine: Companion) -> None:
    """All three runs of each: nothing lost, nothing twice, and what the hub sends is signed."""
    hub = sides.Hub(receiver, [engine])
    with sides.bare() as loop:
        bare = sides.Bare(receiver, loop)
        try:
            sound(outbound.slow_receiver(hub, bare, None, count=8))
            assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 8
            assert set(DeliveryAttempt.unscoped.values_list("status_code", flat=True)) == {200}
            sound(outbound.paced(hub, bare, None, seconds=0.1, per_second=50))
            assert bare.live(5) > 0
        finally:
            bare.close()
    assert hub.live(5) > 0
    run = json.loads(Event.unscoped.latest("id").payload)["data"]["object"]["mark"][5:13]
    assert (receiver.count(run), receiver.repeated(run)) == (5, 0)
    headers, body = receiver.sample(run)
    secret = Delivery.unscoped.latest("id").endpoint.signing_keys()[0]["secret"]
    assert Webhook(secret).verify(body, headers)


@pytest.mark.usefixtures("_once")
def test_two_shifts(receiver: ReceiverProcess, engine: Companion) -> None:
    sound(outbound.two_shifts(receiver, [engine], count=6, in_flight=4))
    sound(depth.two_queue_shifts(receiver, [engine], count=6))
    assert QueueItem.unscoped.filter(kind=jobs.EXCHANGE, state=QueueState.COMPLETED).count() == 6


@pytest.mark.usefixtures("_once")
def test_depth() -> None:
    found = depth.cost_of_depth((60, 120), measured=50)
    assert [each.name for each in found] == ["depth_queue", "depth_deliveries"]
    for result in found:
        sound(result)
        assert set(result.figures) == {"at_60_ms", "at_120_ms"}


@pytest.mark.usefixtures("_once")
def test_fairness(receiver: ReceiverProcess, engine: Companion) -> None:
    for result in depth.fairness(receiver, [engine], due=40, settle=0.0):
        sound(result)


@pytest.mark.usefixtures("_once")
def test_isolation(receiver: ReceiverProcess) -> None:
    result = scenarios.isolation(receiver.url, others=2, events=3, waiting=5, seconds=30.0)
    sound(result)
    assert {name.partition("_")[0] for name in result.figures} == {"beside", "alone"}
    assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 2 * 2 * 3, "both runs of the healthy ones"
    waiting = Delivery.unscoped.exclude(state=DeliveryState.DELIVERED)
    assert waiting.count() == 5
    assert set(waiting.values_list("endpoint__url", flat=True)) == {f"{receiver.url}/slow/30.0"}


@pytest.mark.usefixtures("_once")
def test_publishing() -> None:
    found = scenarios.publishing(events=3)
    assert [each.name for each in found] == ["publish_0", "publish_1", "publish_10"]
    for result in found:
        sound(result)
    assert Event.unscoped.filter(type="payment.completed").count() == 9
    assert Delivery.unscoped.count() == 3 * 1 + 3 * 10
