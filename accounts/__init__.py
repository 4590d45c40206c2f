"""WHO, and what each may reach."""
