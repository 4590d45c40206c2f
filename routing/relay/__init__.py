"""Relay WebSockets: the upstream leg, the frame pump between the legs, its limits and its end."""
