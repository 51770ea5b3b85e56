"""Numbered SQL files, each run in one transaction; `PRAGMA user_version` is the last number that ran.

A file is never changed once it has landed: what it makes is what stands in the stores out there.
"""
