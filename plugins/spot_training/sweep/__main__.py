"""`python -m spot_training.sweep`; the console command is `spot-training sweep`."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
