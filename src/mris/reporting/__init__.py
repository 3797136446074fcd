"""Results become tables, figures and one offline page; nothing is computed here.

What other rooms and users import from here; all else is private to the room:

- ``mris.reporting.experiment_page``: `write_experiment_page`
- ``mris.reporting.html``: `write_evaluation`
- ``mris.reporting.quality_page``: `write_quality`
- ``mris.reporting.report_folder``: `check_report_folder`
- ``mris.reporting.report_tables``: `all_tables`
- ``mris.reporting.tables``: `markdown`
"""
