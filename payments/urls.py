"""The payer's pages. Their addresses are made by `payments.gateway.page_url`."""

from __future__ import annotations

from django.urls import path

from payments.pages import views

urlpatterns = [
    path("pay/<slug:token>", views.start, name="pay"),
    path("pay/<slug:token>/return", views.back, name="pay-return"),
    path("pay/<slug:token>/cancel", views.cancelled, name="pay-cancel"),
    path("pay/<slug:token>/status", views.status, name="pay-status"),
]
