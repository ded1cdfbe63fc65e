"""What holds for every test: skips must be accounted for, and examples print how to repeat them."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("turnout", deadline=None, print_blob=True)
settings.load_profile("turnout")

if os.environ.get("CI") == "true":
    pytest_plugins = ["tests.skip_policy"]
