"""The verbs of `joule forecast`, one module each."""
