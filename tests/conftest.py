"""What all tests share: how Hypothesis looks for examples.

``check``, the default, tries the same examples on every run, so that a red check stays red and a
green one stays green. ``HYPOTHESIS_PROFILE=explore`` tries new and many more ones.
"""

import os

from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile(
    "check",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "explore",
    max_examples=10_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))
