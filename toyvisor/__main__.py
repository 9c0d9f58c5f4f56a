"""`python -m toyvisor`."""

import sys

from toyvisor.cli import main

sys.exit(main())
