"""Run records and code snapshots."""
