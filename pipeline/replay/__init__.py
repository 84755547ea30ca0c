"""Policies against recorded outcomes, offline."""
