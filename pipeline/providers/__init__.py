"""Doors to the tiers: remote models, local classifiers, recorded outcomes."""
