"""The parts of a report: one module for each concern, functions of a `ReportData`."""
