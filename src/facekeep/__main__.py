"""``python -m facekeep``, the same as ``facekeep``."""

import sys

from facekeep.cli.main import main

sys.exit(main())
