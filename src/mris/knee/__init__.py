"""All that only a knee needs: the cartilage atlas and the digital knee cohort."""
