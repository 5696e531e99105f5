"""``python -m ntaylor`` is the ``ntaylor`` command. Floor 18."""

import sys

from ntaylor.cli import main

sys.exit(main())
