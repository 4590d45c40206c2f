"""How dates are written; a package a language, as Django wants it."""
