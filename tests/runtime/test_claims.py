"""Which items are claimed next: fairness between tenants and priorities, at a cost that does not grow with what waits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from integrations.contracts import clock as hub_clock
from integrations.models import QueueItem, QueueState, Tenant
from integrations.runtime import claims, jobs
from integrations.runtime.claims import Places, Turns, claim, claim_one, next_due, release, renew
from integrations.runtime.queue import enqueue
from tests.factories import MovableClock, make_tenant
from tests.runtime.support import SampleJob, SampleLocalJob, fresh, together

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock", "local_job")]
Add = Callable[..., QueueItem]


def fill(tenant: Tenant, count: int, *, priority: int = 8, state: str = "pending") -> None:
    """Insert so many due items of the tenant in one statement, the first of them due for longest."""
    due = hub_clock.now() - timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO integrations_queueitem (tenant_id, kind, payload, reference_type, reference_id, key, priority, state,"
            " due_at, attempts, max_attempts, crashes, fence, worker, errors, last_error, created)"
            " SELECT %s, 'sample.local', '{}', '', '', '', %s, %s, %s + n * interval '1 millisecond', 0, 8, 0, 0, '', '[]', '',"
            " now() FROM generate_series(1, %s) n",
            [tenant.pk, priority, state, due, count],
        )


def tenants(count: int) -> list[Tenant]:
    return [make_tenant(f"tenant-{number}") for number in range(count)]


def look_at(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a claim look at so many pairs of tenant and priority only."""
    for which, statement in list(claims._IN_LINE.items()):
        monkeypatch.setitem(claims._IN_LINE, which, statement.replace(f"LIMIT {claims.MOST_PAIRS}", f"LIMIT {pairs}"))
    monkeypatch.setattr(claims, "MOST_PAIRS", pairs)


def whose(items: list[QueueItem]) -> Counter[int]:
    return Counter(item.tenant_id for item in items)


def test_a_deep_backlog_does_not_keep_another_tenant_from_the_first_claim(tenant: Tenant, other_tenant: Tenant) -> None:
    fill(tenant, 5_000)
    mine = enqueue(tenant_id=other_tenant.pk, kind="sample.local", priority=8)

    taken = claim(8)

    assert [item.pk for item in taken].index(mine.pk) < 2
    assert len(taken) == 8


def test_tenants_take_turns_from_one_claim_to_the_next() -> None:
    everybody = tenants(10)
    for each in everybody:
        fill(each, 20)
    turns = Turns()

    served = [whose(claim(2, turns=turns)) for _ in range(10)]

    first_round = sum(served[:5], Counter())
    assert first_round == Counter({each.pk: 1 for each in everybody})
    assert sum(served[5:], Counter()) == first_round


def test_more_tenants_than_one_claim_looks_at_are_all_served(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = tenants(7)
    for each in everybody:
        fill(each, 2)
    look_at(3, monkeypatch)
    turns = Turns()

    taken: list[QueueItem] = []
    for _ in range(12):
        taken += claim(4, turns=turns)

    assert whose(taken) == Counter({each.pk: 2 for each in everybody})


def test_the_ring_moves_on_over_tenants_with_nothing_due(clock: MovableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    *waiting, last = tenants(6)
    for each in waiting:
        enqueue(tenant_id=each.pk, kind="sample.local", due_at=clock.moment + timedelta(hours=1))
    mine = enqueue(tenant_id=last.pk, kind="sample.local")
    look_at(2, monkeypatch)
    turns = Turns()

    found = [item.pk for _ in range(6) for item in claim(1, turns=turns)]

    assert found == [mine.pk]


def test_what_is_urgent_is_found_in_all_of_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = tenants(9)
    for each in everybody:
        fill(each, 20)
    look_at(2, monkeypatch)
    turns = Turns()
    claim(1, turns=turns)
    urgent = enqueue(tenant_id=everybody[-1].pk, kind="sample.local", priority=1)
    suspect = enqueue(tenant_id=everybody[-1].pk, kind="sample.local", priority=1)
    QueueItem.unscoped.filter(pk=suspect.pk).update(crashes=1)

    taken = claim(2, turns=turns, suspects=False)

    assert taken[0].pk == urgent.pk
    assert suspect.pk not in [item.pk for item in taken]
    # The ring goes on from where it stood: those in between are not passed over.
    assert turns.after in [each.pk for each in everybody[:4]]


def test_a_lap_is_under_way_until_all_of_the_ring_was_seen(clock: MovableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = tenants(9)
    for each in everybody:
        enqueue(tenant_id=each.pk, kind="sample.local", due_at=clock.moment + timedelta(hours=1))
    look_at(3, monkeypatch)
    for start in (0, everybody[0].pk, everybody[4].pk, everybody[-1].pk + 5):
        turns, seen = Turns(after=start), 1
        claim(4, turns=turns)
        while turns.home is not None:
            claim(4, turns=turns)
            seen += 1
            assert seen < 9
        assert seen >= 4


def test_what_is_urgent_goes_before_everybodys_bulk(tenant: Tenant, other_tenant: Tenant) -> None:
    fill(tenant, 50, priority=8)
    fill(other_tenant, 50, priority=5)
    urgent = [enqueue(tenant_id=tenant.pk, kind="sample.local", priority=2).pk for _ in range(3)]

    assert [item.pk for item in claim(5)][:3] == urgent


def test_the_oldest_gets_its_share_beside_an_endless_stream_of_more_urgent_work(tenant: Tenant) -> None:
    fill(tenant, 1, priority=9)
    fill(tenant, 200, priority=1)
    turns = Turns()

    taken = [item.priority for _ in range(2 * claims.OLDEST_SHARE) for item in claim(1, turns=turns)]

    assert taken.count(9) == 1
    assert len(taken) == 2 * claims.OLDEST_SHARE


def test_a_tenant_that_is_alone_leaves_a_place_for_a_newcomer_and_one_for_what_is_urgent(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    fill(tenant, 100)
    places = Places(free=8, reserve=1)
    turns = Turns()
    assert whose(claim(8, places=places, turns=turns)) == {tenant.pk: 6}
    assert turns.more
    assert claim(8, places=places) == []

    fill(other_tenant, 100)
    assert whose(claim(8, places=places)) == {other_tenant.pk: 1}
    assert claim(8, places=places) == []

    fill(tenant, 1, priority=1)
    fill(other_tenant, 1, priority=1)
    assert [item.priority for item in claim(8, places=places)] == [1]
    assert places.free == 0


def test_claims_that_follow_each_other_never_meet(tenant: Tenant) -> None:
    fill(tenant, 64)
    found = [item.pk for _ in range(8) for item in claim(8)]
    assert len(set(found)) == 64
    assert claim(8) == []


@pytest.mark.django_db(transaction=True)
def test_claims_at_the_same_time_share_the_work(tenant: Tenant, other_tenant: Tenant) -> None:
    fill(tenant, 150)
    fill(other_tenant, 50)

    def some(_number: int) -> list[int]:
        turns, mine = Turns(), []
        while taken := claim(5, turns=turns) or (turns.more and claim(5, turns=turns)):
            mine += [item.pk for item in taken]
        return mine

    shares = together(4, some)

    flat = [pk for share in shares for pk in share]
    assert len(flat) == len(set(flat))
    rest = claim(200)
    assert len(flat) + len(rest) == 200


def test_a_claim_costs_three_statements_however_much_it_takes(tenant: Tenant, other_tenant: Tenant) -> None:
    fill(tenant, 30)
    fill(other_tenant, 30)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(claim(16)) == 16
    assert len(queries) == 3


def explained(statement: str, given: dict[str, Any]) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}", given)
        found = cursor.fetchone()[0]
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan] + [node for each in plan.get("Plans", []) for node in nodes(each)]


def test_finding_work_reads_as_little_of_a_deep_queue_as_of_a_shallow_one(tenant: Tenant, other_tenant: Tenant) -> None:
    read = {}
    given = {"after": 0, "now": hub_clock.now(), "kinds": jobs.kinds(), "window": 32, "urgent": [1, 8], "innocent": True}
    others = {"next": claims._NEXT_DUE, "urgent": claims._URGENT, "something": claims._SOMETHING_DUE}
    for depth in (500, 20_000):
        fill(tenant, depth)
        fill(tenant, depth, state="completed")
        fill(other_tenant, 10)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE integrations_queueitem")
        for name, statement in {**claims._IN_LINE, **others}.items():
            plan = explained(statement, given)
            found = nodes(plan)
            table = [node for node in found if node.get("Relation Name") == "integrations_queueitem"]
            assert {node["Node Type"] for node in table} <= {"Index Scan", "Index Only Scan"}
            assert {node["Index Name"] for node in table} <= {"queue_due_of_tenant", "queue_due"}
            assert not [node for node in found if "Sort" in node["Node Type"]]
            read[name, depth] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    for name in (*claims._IN_LINE, *others):
        # Forty times the depth, some 700 pages of rows more. The lines' heads lie on more pages now, and an index may be one
        # level deeper: that is all.
        assert read[name, 20_000] <= read[name, 500] + 100, read


def test_what_is_given_back_is_due_as_before_and_has_used_no_attempt(add: Add, clock: MovableClock) -> None:
    first = add(due_at=clock.moment - timedelta(seconds=30))
    add()
    (claimed,) = claim(1)
    assert claimed.pk == first.pk

    assert release([claimed]) == 1

    row = fresh(first)
    assert (row.state, row.lease, row.lease_until, row.attempts, row.crashes) == ("pending", None, None, 0, 0)
    assert row.due_at == first.due_at
    (again,) = claim(1)
    assert (again.pk, again.fence) == (first.pk, claimed.fence + 1)
    assert release([claimed]) == 0  # a lease that is not ours any more
    assert fresh(first).state == "processing"


def test_a_lease_is_prolonged_while_it_is_ours_and_only_then(add: Add, clock: MovableClock, job: SampleJob) -> None:
    claimed = claim_one(add().pk)
    assert claimed is not None
    clock.advance(100)

    assert renew([claimed]) == 1
    assert fresh(claimed).lease_until == clock.moment + timedelta(seconds=job.lease_seconds)

    QueueItem.unscoped.filter(pk=claimed.pk).update(state=QueueState.UNKNOWN)
    assert renew([claimed]) == 0


def test_the_next_due_is_the_first_that_waits_for_its_time(add: Add, clock: MovableClock) -> None:
    assert next_due() is None
    add()
    assert next_due() is None
    for priority, seconds in ((1, 60), (5, 20), (9, 40)):
        add(priority=priority, due_at=clock.moment + timedelta(seconds=seconds))
    assert next_due() == clock.moment + timedelta(seconds=20)


def test_only_kinds_that_are_known_are_claimed(add: Add, local_job: SampleLocalJob, monkeypatch: pytest.MonkeyPatch) -> None:
    add(kind="sample.local")
    mine = add()
    monkeypatch.delitem(jobs._jobs, "sample.local")
    assert [item.pk for item in claim(10)] == [mine.pk]
    assert [item.pk for item in claim(10, kinds=["sample.call"])] == []


def test_suspects_are_claimed_apart(add: Add) -> None:
    suspect, good = add(), add()
    QueueItem.unscoped.filter(pk=suspect.pk).update(crashes=1)
    assert [item.pk for item in claim(10, suspects=False)] == [good.pk]
    assert [item.pk for item in claim(10, suspects=True)] == [suspect.pk]


def test_leasing_giving_back_and_renewing_touch_only_what_is_meant(tenant: Tenant) -> None:
    fill(tenant, 20_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE integrations_queueitem")
    taken = claim(16)
    held = {"ids": [each.pk for each in taken], "leases": [each.lease for each in taken]}
    now = hub_clock.now()
    lease = {"ids": list(range(1, 65)), "limit": 16, "worker": "w", "now": now, "due": now}
    lease |= {"kinds": ["sample.local"], "seconds": [60.0]}
    for statement, given in (
        (claims._LEASE, lease),
        (claims._RELEASE, held),
        (claims._RENEW, {**held, "untils": [now] * len(taken)}),
    ):
        table = [
            node for node in nodes(explained(statement, given)) if "integrations_queueitem" in str(node.get("Relation Name"))
        ]
        assert {node["Node Type"] for node in table} == {"Index Scan", "ModifyTable"}


def test_no_more_is_taken_than_asked_for_whatever_the_plan(tenant: Tenant) -> None:
    """By the statistics of an empty table the planner reads all rows, and looks for each of them among the chosen."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE integrations_queueitem")
    fill(tenant, 20)
    ids = list(QueueItem.unscoped.order_by("pk").values_list("pk", flat=True))

    with transaction.atomic():
        taken = claims._lease(ids, 2, ["sample.local"], due=hub_clock.now())

    assert [item.pk for item in taken] == ids[:2]
    assert QueueItem.unscoped.filter(state="processing").count() == 2
