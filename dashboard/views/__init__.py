"""The pages: widgets and wiring. They read through `context` and draw with `charts`."""
