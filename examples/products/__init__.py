"""Products: a small catalogue with search, prices and stock."""
