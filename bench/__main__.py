"""`python -m bench`: measure the pipeline; `python -m bench anomalies`: what the anomaly rules find."""

import sys

from bench import anomalies
from bench.pipeline.command import main

if __name__ == "__main__":
    sys.exit(anomalies.main(sys.argv[2:]) if sys.argv[1:2] == ["anomalies"] else main())
