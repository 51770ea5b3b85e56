"""Numbered SQL files, each run in one transaction; `PRAGMA user_version` is the last number that ran."""
