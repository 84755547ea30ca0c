"""Benchmarks: each prints its figures beside a peer's from the same run and writes build/figures/NAME.json."""
