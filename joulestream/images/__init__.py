"""Container images: what is in each, how its context is made, and which tool builds it."""
