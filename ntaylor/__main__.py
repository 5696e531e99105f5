"""``python -m ntaylor`` is the ``ntaylor`` command."""

import sys

from ntaylor.cli import main

sys.exit(main())
