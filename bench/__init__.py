"""The claims: benchmarks that print a table and JSON. Run by `joule bench`, never by pytest."""
