"""The booking application: cities, events, seats, and a small key-value store."""
