"""A database and a query become an image, its neighbors, their weights and their spread."""
