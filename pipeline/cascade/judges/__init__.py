"""Judges, one file each. A new one implements `pipeline/ports/judge.py` and is named in `pipeline/wiring/judges.py`."""
