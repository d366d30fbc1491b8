"""The short way of inbound paths: what guards every request guards these too, and nothing more is in their way."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from prometheus_client import REGISTRY
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from integrations.models import CallLog, Tenant
from tests.factories import make_source
from tests.webhooks.inbound.support import body_of, path_of, plain, post, receipts
from webhooks.inbound import views

pytestmark = pytest.mark.django_db
HEADERS = ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy", "Content-Length")


def test_security_headers_are_those_of_any_page(tenant: Tenant, client: Client) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    usual = client.get("/healthz/live")
    for answer in (post(path_of(source), body, plain(secret, body)), post(path_of(source), body), client.get("/hooks/zz")):
        for name in HEADERS[:-1]:
            assert answer[name] == usual[name], name
        assert int(answer["Content-Length"]) == len(answer.content)
        assert answer.cookies == {}


@pytest.mark.parametrize("path", ["/hooks/0123456789abcdef", "/webhooks/sms/delivery"])
def test_the_same_guards_stand_there(path: str, settings: Any) -> None:
    key = "hub_" + "0123456789" * 4
    assert post(f"{path}?k={key}", b"{}").json()["errors"][0]["code"] == "key_in_url"
    odd = Client().generic("POST", path, b"{}", CONTENT_LENGTH="\u0663")
    assert (odd.status_code, odd.json()["errors"][0]["code"]) == (400, "bad_request")
    settings.ALLOWED_HOSTS = ["hub.example"]
    assert post(path, b"{}", HTTP_HOST="elsewhere.example").status_code == 400


def test_sessions_and_users_are_not_asked_for(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _secret = make_source(tenant)
    seen: list[Any] = []
    refuse = views._refuse

    def noted(request: Any, *more: Any) -> Any:
        seen.append(request)
        return refuse(request, *more)

    monkeypatch.setattr(views, "_refuse", noted)
    post(path_of(source), b"{}")
    (request,) = seen
    assert not hasattr(request, "user")
    assert not hasattr(request, "session")
    assert request.resolver_match.view_name == "hook"


def test_each_request_has_an_id_and_a_line_unless_it_is_stored(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    with capture_logs() as said:
        post(path_of(source), body, plain(secret, body))
        assert [each for each in said if each["event"] == "request_finished"] == []
        post(path_of(source), body)
    (line,) = [each for each in said if each["event"] == "request_finished"]
    assert (line["code"], line["log_level"], line["request"]) == (401, "warning", "POST /hooks/••••")
    assert len(CallLog.unscoped.get(tenant=tenant).request_id) == 36
    assert len(receipts()) == 1


def test_the_id_that_a_proxy_gave_goes_on_where_it_is_trusted(tenant: Tenant, settings: Any) -> None:
    source, secret = make_source(tenant)
    body = body_of()
    post(path_of(source), body, {**plain(secret, body), "X-Request-ID": "proxy-1"})
    assert len(CallLog.unscoped.get().request_id) == 36, "as on any other path: not unless the installation says so"
    settings.DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = settings.DJANGO_STRUCTLOG_TRUST_UPSTREAM_CORRELATION_ID = True
    ids = []
    for number, given in enumerate(("proxy-123", "", "two words", "r" * 201, "caf\xe9")):
        body = body_of({"id": number})
        post(path_of(source), body, {**plain(secret, body), "X-Request-ID": given})
        ids.append(CallLog.unscoped.latest("pk").request_id)
    assert ids[0] == "proxy-123"
    assert [len(each) for each in ids[1:]] == [36] * 4
    with capture_logs([merge_contextvars]) as said:
        post(path_of(source), b"{}", {"X-Request-ID": "proxy-9", "X-Correlation-ID": "all-of-it"})
    (line,) = [each for each in said if each["event"] == "request_finished"]
    assert (line["request_id"], line["correlation_id"]) == ("proxy-9", "all-of-it")


def test_sizes_and_exceptions_are_measured_as_on_any_page(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    source, secret = make_source(tenant)

    def measured() -> list[float]:
        names: tuple[tuple[str, dict[str, str]], ...] = (
            ("django_http_requests_body_total_bytes_sum", {}),
            ("django_http_responses_body_total_bytes_sum", {}),
            ("django_http_requests_latency_including_middlewares_seconds_count", {}),
            (
                "django_http_requests_total_by_view_transport_method_total",
                {"view": "hook", "transport": "http", "method": "POST"},
            ),
            ("django_http_responses_total_by_charset_total", {"charset": "utf-8"}),
            ("django_http_exceptions_total_by_type_total", {"type": "RuntimeError"}),
            ("django_http_exceptions_total_by_view_total", {"view": "hook"}),
        )
        return [REGISTRY.get_sample_value(name, labels) or 0.0 for name, labels in names]

    def grown(before: list[float]) -> list[float]:
        return [after - first for after, first in zip(measured(), before, strict=True)]

    before, body = measured(), body_of()
    assert post(path_of(source), body, plain(secret, body)).content == b"{}"
    assert grown(before) == [len(body), 2, 1, 1, 1, 0, 0]

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(views, "_take_in", broken)
    before = measured()
    answer = Client(raise_request_exception=False).post(path_of(source), b"{}", content_type="application/json")
    assert grown(before) == [2, len(answer.content), 1, 1, 1, 1, 1]


def test_they_are_counted_with_all_others(tenant: Tenant) -> None:
    source, secret = make_source(tenant)
    labels = {"status": "200", "view": "hook", "method": "POST"}

    def counted() -> tuple[float, float]:
        answers = REGISTRY.get_sample_value("django_http_responses_total_by_status_view_method_total", labels)
        timed = {"view": "hook", "method": "POST"}
        name = "django_http_requests_latency_seconds_by_view_method_count"
        return answers or 0.0, REGISTRY.get_sample_value(name, timed) or 0.0

    before = counted()
    for number in range(2):
        body = body_of({"id": number})
        assert post(path_of(source), body, plain(secret, body)).status_code == 200
    assert counted() == (before[0] + 2, before[1] + 2)


def test_a_failure_there_is_a_500_with_its_line(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _secret = make_source(tenant)

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(views, "_take_in", broken)
    with capture_logs() as said:
        answer = Client(raise_request_exception=False).post(path_of(source), b"{}", content_type="application/json")
    assert answer.status_code == 500
    assert [each["event"] for each in said] == ["request_failed"], "one line, with what broke"


def test_the_lane_is_the_first_of_all() -> None:
    assert django_settings.MIDDLEWARE[0] == "integrations_site.inbound_lane.InboundLane"
    assert django_settings.INBOUND_MIDDLEWARE[0] == django_settings.MIDDLEWARE[1]
