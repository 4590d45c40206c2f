"""Users: a staff directory, and the caller as the gateway's identity headers describe it."""
