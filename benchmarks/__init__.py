"""Side-by-side measurements of the gateway. Reads nothing of the product but what a user would start."""
