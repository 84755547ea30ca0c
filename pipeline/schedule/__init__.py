"""Jobs that run by the clock: which occurrences are due, and firing each of them once."""
