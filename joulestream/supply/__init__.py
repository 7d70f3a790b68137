"""What the project is made of: the locked packages and jars, their licences, and what is known against them."""
