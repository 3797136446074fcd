"""One file to its queries, results in memory or on disk: maps, pictures, provenance, DICOM objects.

What other rooms and users import from here; all else is private to the room:

- ``mris.serving.deidentify``: `LEAST_SALT`, `random_salt`
- ``mris.serving.files``: `FileOptions`, `synthesize_files`
- ``mris.serving.outputs``: `Format`
- ``mris.serving.pictures``: `Look`
"""
