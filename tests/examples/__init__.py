"""Tests of the example services: their arithmetic, and each one as a real process."""
