"""The shared embedding space: encoders, losses, training, export."""
