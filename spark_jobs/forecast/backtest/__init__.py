"""The published figures: measured data, honest splits, the offline models beside the one that serves."""
