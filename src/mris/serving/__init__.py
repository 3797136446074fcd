"""One file to its queries, results in memory or on disk: maps, pictures, provenance, DICOM objects.

What other rooms and users import from here; all else is private to the room:

- ``mris.serving.deidentify``: `LEAST_SALT`, `random_salt`
- ``mris.serving.dicom_files``: `encoded_dicom_objects`
- ``mris.serving.dicom_source``: `DerivedFrom`, `SourceHeader`, `read_source_header`
- ``mris.serving.files``: `FileOptions`, `FileOutcome`, `synthesize_files`
- ``mris.serving.means``: `MeanRow`, `mean_rows`, `write_means`
- ``mris.serving.notes``: `notes_on`, `notes_on_strangeness`
- ``mris.serving.outputs``: `FORMATS`, `Format`, `Query`, `write_synthesis`
- ``mris.serving.pictures``: `Look`, `N_PICTURED`, `common_look`, `most_values`, `value_limits`, `write_maps_picture`,
  `write_neighbors_picture`
- ``mris.serving.queries``: `FileQuery`, `MUCH_LARGER`, `queries_of`
- ``mris.serving.usual_means``: `Usual`, `UsualMeans`, `usual_means`
"""
