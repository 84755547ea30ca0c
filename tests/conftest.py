"""What holds for every test."""

import os

from hypothesis import HealthCheck, settings

# Test files run side by side: how long an example takes says nothing of the code.
# CI asks the same examples each time; elsewhere they are drawn anew.
settings.register_profile(
    "side by side",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("side by side")
