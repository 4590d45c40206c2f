"""The Gatehouse project: settings, front door, server and health."""

__version__ = "0.1.0"
