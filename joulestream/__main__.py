"""`python -m joulestream` is `joule`."""

from joulestream.cli import main

if __name__ == "__main__":
    main()
