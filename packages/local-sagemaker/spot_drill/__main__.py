"""`python -m spot_drill`."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
