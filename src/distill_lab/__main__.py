"""`python -m distill_lab`, the same as `distill-lab`."""

import sys

from distill_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
