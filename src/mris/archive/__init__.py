"""DICOMweb: find, fetch and store studies of an archive.

What other rooms and users import from here; all else is private to the room:

- ``mris.archive.connection``: `Archive`, `ArchiveSettings`, `checked_uid`, `connect`
- ``mris.archive.query``: `InstanceRecord`, `query_instances`, `query_studies`
- ``mris.archive.transfer``: `fetch_instances`, `store_files`
"""
