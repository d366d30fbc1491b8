"""One request to a fake API, from route to reply: faults, handler, early callbacks, answer checks, request log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from requests.structures import CaseInsensitiveDict

from integrations.simulators.checks import check_answer
from integrations.simulators.clock import Clock
from integrations.simulators.kit import Simulator
from integrations.simulators.scheduler import Scheduler
from integrations.simulators.store import Store
from integrations.simulators.wire import Refusal, SimReply, SimRequest

log = logging.getLogger("integrations.simulators")
VIOLATION_STATUS = 599
DEFAULT_ANSWER_DELAY = 5.0


class Dispatcher:
    """Answers requests to fake APIs. `answer` returns None where the connection is to be cut without a reply."""

    def __init__(self, store: Store, clock: Clock, scheduler: Scheduler, violations: list[str]) -> None:
        self._store = store
        self._clock = clock
        self._scheduler = scheduler
        self._violations = violations

    def answer(
        self,
        simulator: Simulator,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: CaseInsensitiveDict[str],
        read_body: Callable[[], bytes],
    ) -> SimReply | None:
        """Serve one request; `read_body` is called unless the fault `refuse` fires."""
        found = simulator.find_route(method, path)
        request = SimRequest(method, path, query, headers, b"")
        if found is None:
            request.body = read_body()
            reply = simulator.error_reply(405 if simulator.serves_path(path) else 404)
            return self._checked(simulator, request, reply, "")
        request.operation, request.params = found[0].operation, found[1]
        faults, names = simulator.faults, (request.operation,)
        if faults.take(simulator.slug, names, ("refuse",)):
            simulator.record(request, None, "refuse")
            return None
        request.body = read_body()
        error = faults.take(simulator.slug, names, ("error_500", "error_429"))
        if error:
            reply = simulator.error_reply(int(error.fault.removeprefix("error_")))
            if error.retry_after is not None:
                reply.headers["Retry-After"] = str(error.retry_after)
            return self._checked(simulator, request, reply, error.fault)
        slow = faults.take(simulator.slug, names, ("delay",))
        cut = faults.take(simulator.slug, names, ("drop_after_accept",))
        broken = faults.take(simulator.slug, names, ("error_500_after",))
        reply = self._act(simulator, request, found[0].handler)
        if broken:
            reply = simulator.error_reply(500)
        for job in request.before_answer:
            self._scheduler.send_now(job)
        fired = " ".join(fault.fault for fault in (slow, cut, broken) if fault)
        reply = self._checked(simulator, request, reply, fired)
        if slow:
            time.sleep(DEFAULT_ANSWER_DELAY if slow.seconds is None else slow.seconds)
        return None if cut or request.cut else reply

    def _act(self, simulator: Simulator, request: SimRequest, handler: Callable[[SimRequest], SimReply]) -> SimReply:
        try:
            with self._store.transaction():
                return handler(request)
        except Refusal as refusal:
            reply = refusal.reply
        except Exception as error:
            log.exception("%s: %s failed", simulator.slug, request.operation)
            self._violations.append(f"{simulator.slug} {request.operation}: {type(error).__name__}: {error}")
            reply = simulator.error_reply(500)
        request.before_answer.clear()
        request.cut = False
        return reply

    def _checked(self, simulator: Simulator, request: SimRequest, reply: SimReply, fault: str) -> SimReply:
        violation = check_answer(simulator.slug, request, reply)
        if violation:
            self._violations.append(violation)
            reply = SimReply.of_text(violation, VIOLATION_STATUS)
        simulator.record(request, reply.status, fault)
        return reply
