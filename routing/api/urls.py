"""URLs of the routing part of the gateway's own API."""

from django.urls import path

from routing.api.tickets import WebSocketTicketView

urlpatterns = [
    path("auth/ws-ticket", WebSocketTicketView.as_view()),
]
