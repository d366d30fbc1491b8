from __future__ import annotations
import json, sys, time
import pytest
from tests.flows.faults.lanes import LANES, CARD_3DS

pytestmark = pytest.mark.django_db(transaction=True)
FAULTS = [
    "none",
    "no_connection",
    "refuse",
    "drop_after_accept",
    "error_500_after",
    "error_429",
    "duplicate_callback",
    "early",
    "lose_callback",
    "wrong_amount",
]
CELLS = [(l, o, f) for l, lane in LANES.items() for o in lane.operations for f in FAULTS]


@pytest.mark.parametrize(("lane", "operation", "fault"), CELLS, ids=["-".join(c) for c in CELLS])
def test_probe(hub_at, lane, operation, fault):
    t = time.monotonic()
    hub = hub_at(lane)
    pid = None
    more = {}
    if operation in ("capture",):
        more["capture"] = "manual"
    if lane == "stripe" and operation == "authorize" and fault in ("duplicate_callback", "lose_callback", "wrong_amount"):
        more["method"] = {"type": "card", "token": CARD_3DS}
    if operation in ("capture", "refund", "complete"):
        pid = hub.ask(**more)["id"]
        if operation != "complete":
            hub.rest(pid)
        assert hub.shown(pid)["status"] in ("succeeded", "authorized", "requires_action"), hub.shown(pid)
    if fault in ("duplicate_callback", "lose_callback"):
        hub.fault("callback", fault, times=-1 if lane != "mpesa" or operation != "refund" or fault != "lose_callback" else 1)
    elif fault == "early":
        hub.fault(operation, "delay", seconds=0.5)
        hub.fault(operation, "early_callback")
    elif fault == "wrong_amount":
        hub.fault("status", "wrong_amount", times=-1)
        hub.fault(operation, "wrong_amount", times=-1)
        hub.fault("callback", "wrong_amount", times=-1)
    elif fault not in ("none", "no_connection"):
        hub.fault(operation, fault)

    def act():
        if operation == "authorize":
            return hub.ask(**more)
        if operation == "capture":
            return hub.post("capture", pid, amount=hub.lane.part, final=False).json()
        if operation == "complete":
            hub._acted.add("paid")
            hub.control("POST", "payer", ref=pid, action="approve")
            hub.quiet()
            return hub.shown(pid)
        b = {"amount": hub.lane.part} if hub.lane.part else {}
        return hub.post("refund", pid, **b).json()

    if fault == "no_connection":
        with hub.unreachable():
            r = act()
    elif fault == "early":
        with hub.working():
            r = act()
    else:
        r = act()
    pid = pid or r["id"]
    after = hub.status(operation, pid) if operation != "refund" or hub.shown(pid)["refunds"] else r
    nhooks = len(hub.webhooks(status="processed"))
    m0 = hub.money(pid)
    if lane == "pesapal" and operation == "refund":
        try:
            hub.approve_refund(pid)
        except Exception as e:
            print("settle:", e)
    hub.rest(pid)
    s = hub.shown(pid)
    print(
        f"\nCELL {lane} {operation} {fault}: after={after} hooks={nhooks} m0={m0} -> {hub.status(operation, pid)} pay={s['status']} cap={s['amount_captured']} ref={s['amount_refunded']} able={s['amount_capturable']} rep={s['reported']} money={hub.money(pid)} events={hub.events()} alerts={hub.alerts()} n={len(hub.payments())} seen={len(hub.seen(operation))} fail={s['failure'] and s['failure']['code']} {time.monotonic() - t:.1f}s",
        file=sys.stderr,
    )
