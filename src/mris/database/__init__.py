"""Embeddings, target images and metadata on disk, with exact and approximate search."""
