"""The exporter: what the stream, its documents and its servers say, for Prometheus and OpenTelemetry."""
