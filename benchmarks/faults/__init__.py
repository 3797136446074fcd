"""What a bundle does when its writers are killed, run out of disk, or race each other."""
