"""DICOMweb: find, fetch and store studies of an archive."""
