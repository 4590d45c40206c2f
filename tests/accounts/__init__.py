"""WHO: the tests mirror accounts/."""
