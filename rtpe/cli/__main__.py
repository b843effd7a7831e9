"""`python -m rtpe.cli` is `rtpe`."""

import sys

from rtpe.cli import main

sys.exit(main())
