"""How large a crop round a knee is."""

REGION_MM = 140.0
"""Edge of the square region round a knee's center that the paper's encoders see."""
