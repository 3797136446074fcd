"""The paper's experiment: classifiers on maps, their metrics, error against the size of the database."""
