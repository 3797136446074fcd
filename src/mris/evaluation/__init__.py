"""How well it works: image error on one fixed mask, retrieval, and intervals resampled by subject."""
