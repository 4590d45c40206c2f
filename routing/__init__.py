"""WHAT GOES WHERE, under which rule."""
