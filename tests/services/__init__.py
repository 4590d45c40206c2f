"""Real servers, started privately on free ports for the tests that need them."""
