"""Settings: one object, read once, every problem reported at once."""
