"""Data to Plotly figures: pure functions, each with its summary in words and its table."""
