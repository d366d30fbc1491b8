"""Recipients by the thousand, from files and long calls."""
