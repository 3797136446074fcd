"""One file to its queries, results in memory or on disk: maps, pictures, provenance, DICOM objects."""
