"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Test files run side by side: how long an example takes says nothing of the code.
settings.register_profile("side by side", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("side by side")
