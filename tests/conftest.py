"""How hard the tests try: with QUORUMLOG_DEPTH=deep (make fuzz, make crash) harder than in CI."""

import os

from hypothesis import settings

# No deadlines: a test that fails because the machine was busy says nothing.
settings.register_profile("ci", deadline=None, print_blob=True)
settings.register_profile("deep", deadline=None, print_blob=True, max_examples=5000)
settings.load_profile("deep" if os.environ.get("QUORUMLOG_DEPTH") == "deep" else "ci")
