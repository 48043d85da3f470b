"""A small, realistic network made by a seeded generator, and the demo that shows the platform on it."""
