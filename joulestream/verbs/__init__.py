"""The verbs of `joule`: one module each, whose first line is the verb's line in the help."""
