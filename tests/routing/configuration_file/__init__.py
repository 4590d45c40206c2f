"""The declarative file, read, planned, applied and exported."""
