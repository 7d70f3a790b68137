"""The shared language: units, errors, events, documents. It knows none of the frameworks."""
