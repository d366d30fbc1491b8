"""A tenant's ways in: made, changed, rotated and removed by API and page."""
