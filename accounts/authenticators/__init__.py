"""One file a method of authentication."""
