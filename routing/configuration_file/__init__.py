"""The declarative file: read it, compare it with the rows, apply it, export it. Prints nothing."""
