"""WHAT HAPPENED: every decision, recorded once and provable."""
