"""The report: what a run chose and why as one HTML page that needs no network (extra `report`)."""

from nncift.report.write import report_after, write_report

__all__ = ["report_after", "write_report"]
