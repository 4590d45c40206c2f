"""The routing part of the gateway's own API."""
