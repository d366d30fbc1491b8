"""Who is not written to, when not, and for how much."""
