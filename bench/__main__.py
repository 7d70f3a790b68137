"""`python -m bench`: measure the pipeline; with a name first, one of the other benchmarks."""

import sys
from collections.abc import Callable

from bench.pipeline.command import main


def chosen(name: str) -> Callable[[list[str]], int] | None:
    """The benchmark of this name, imported only now: each needs other libraries."""
    if name == "anomalies":
        from bench import anomalies

        return anomalies.main
    if name == "forecast":
        from bench import forecast

        return forecast.main
    return None


if __name__ == "__main__":
    other = chosen(sys.argv[1]) if len(sys.argv) > 1 else None
    sys.exit(main() if other is None else other(sys.argv[2:]))
