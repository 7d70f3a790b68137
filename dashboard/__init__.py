"""The window: reads the documents of the store, draws them, and writes nothing."""
