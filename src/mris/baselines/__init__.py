"""Networks that synthesize a target directly from a source, to compare retrieval with."""
