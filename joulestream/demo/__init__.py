"""The demo: real training jobs, measured by the tracker. `train.py` is the example to read."""
