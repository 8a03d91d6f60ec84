"""Logs people in by an approval on a page of our identity service. The page shows digits that belong into ssh."""
