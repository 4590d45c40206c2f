"""Orders: lines with prices, a total, and a status that moves one way."""
