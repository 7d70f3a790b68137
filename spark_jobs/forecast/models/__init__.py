"""The batch model: its inputs, its forests, where models are kept and which one is in use."""
