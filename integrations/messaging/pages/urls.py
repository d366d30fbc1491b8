"""The recipients' page. Its address is made by `unsubscribing.unsubscribe_url`."""

from __future__ import annotations

from django.urls import path

from integrations.messaging.pages import views

urlpatterns = [path("u/<str:token>", views.unsubscribe, name="unsubscribe")]
