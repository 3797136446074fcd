"""The one Lightning set-up that metric learning, baselines and downstream networks share."""
