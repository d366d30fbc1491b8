"""The payer's pages. Their addresses are made by `payments.gateway.page_url`."""

from __future__ import annotations

from django.urls import path

from payments import pages

urlpatterns = [
    path("pay/<slug:token>", pages.start, name="pay"),
    path("pay/<slug:token>/return", pages.back, name="pay-return"),
    path("pay/<slug:token>/cancel", pages.cancelled, name="pay-cancel"),
    path("pay/<slug:token>/status", pages.status, name="pay-status"),
]
