"""Says why it cannot go on, and ends."""

import sys

sys.exit("no configuration: giving up")
