"""The decision core: pure, in memory, no I/O."""
