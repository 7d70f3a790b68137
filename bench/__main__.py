"""`python -m bench`: measure the pipeline."""

import sys

from bench.pipeline.command import main

if __name__ == "__main__":
    sys.exit(main())
