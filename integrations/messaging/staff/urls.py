"""Addresses below /staff/."""

from __future__ import annotations

from django.urls import path, re_path

from integrations.messaging.staff import history, home, listing, writing

app_name = "staff"

MESSAGE = r"^messages/(?P<message_id>msg_[0-9a-z]{26})"
urlpatterns = [
    path("", home.home, name="home"),
    path("login/", home.login, name="login"),
    path("logout/", home.logout, name="logout"),
    path("organisation/", home.pick_tenant, name="tenant"),
    path("sms/", writing.sms, name="sms"),
    path("sms/preview/", writing.sms_preview, name="sms_preview"),
    path("email/", writing.email, name="email"),
    path("email/preview/", writing.email_preview, name="email_preview"),
    re_path(r"^confirm/(?P<unsent_id>[0-9a-f]{32})/$", writing.confirm, name="confirm"),
    re_path(r"^lists/(?P<list_id>lst_[0-9a-z]{26})/$", listing.show_list, name="list"),
    path("messages/", history.messages, name="messages"),
    re_path(rf"{MESSAGE}/$", history.message, name="message"),
    re_path(rf"{MESSAGE}/progress/$", history.progress, name="progress"),
    re_path(rf"{MESSAGE}/recipients/$", history.recipients, name="recipients"),
    re_path(rf"{MESSAGE}/(?P<action>pause|resume|cancel|resend)/$", history.steer, name="steer"),
]
