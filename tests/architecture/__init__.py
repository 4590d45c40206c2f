"""What keeps the code in its rooms: imports, names, sizes, and documents that stay true."""
