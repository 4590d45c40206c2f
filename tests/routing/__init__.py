"""WHAT GOES WHERE: the tests mirror routing/."""
