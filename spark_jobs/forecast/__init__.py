"""Forecasts of power, energy and emissions: the models, their blend, their intervals and how they are judged."""
