"""Policies: which tiers a query is planned for. One file each; `pipeline/wiring.py` names them."""
