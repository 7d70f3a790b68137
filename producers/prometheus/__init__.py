"""Node samples from the series of Kepler and DCGM, read through a Prometheus server's API."""
