"""All that only a knee needs: finder of knees, import of sheets, thickness maps, the digital knee cohort.

What other rooms and users import from here; all else is private to the room:

- ``mris.knee.anatomy``: `KNEE`
- ``mris.knee.cartilage_atlas``: `CHECKSUMS`, `open_atlas`
- ``mris.knee.center_sheet``: `read_center_sheet`
- ``mris.knee.crop``: `REGION_MM`
- ``mris.knee.knee_finder``: `KneeFinder`
- ``mris.knee.label_map``: `label_map`
- ``mris.knee.map_edges``: `ATLAS_EDGES`, `PHANTOM_EDGES`
- ``mris.knee.map_parts``: `map_parts`
- ``mris.knee.mr.folder``: `SegmentSettings`, `check_scans`, `segment_scans`
- ``mris.knee.mr.phantom_scans``: `write_phantom_scans`
- ``mris.knee.oai``: `survey_oai`, `write_oai_manifest`
- ``mris.knee.oai_sheets``: `month_name`
- ``mris.knee.phantom.atlas``: `REGIONS`, `knee_atlas`
- ``mris.knee.phantom.cohort``: `PLAIN`, `write_phantom`
- ``mris.knee.phantom.oai_layout``: `OAI`, `OAI_NUMBERS`
- ``mris.knee.phantom.simulate``: `simulate_subject`
- ``mris.knee.progression``: `cohort_progression`
- ``mris.knee.radiograph_files``: `PlateOptions`, `PlateOutcome`, `import_plates`
- ``mris.knee.region_table``: `TABLE_FILE`, `write_table`
- ``mris.knee.segmentation_files``: `knee_files`
- ``mris.knee.thickness_folder``: `ThicknessSettings`, `check_segmentations`, `write_thickness_maps`
"""
