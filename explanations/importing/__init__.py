"""Imported neurons to rows, many at a time: `importer` is the way in."""
