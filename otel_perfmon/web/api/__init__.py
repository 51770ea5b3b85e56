"""The answers of a store as JSON, under ``/api/``: what the command line tells, for pages and programs."""
