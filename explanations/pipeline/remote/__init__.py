"""A dataset at a web address: `fetching` gets one file, `spool` many of them ahead of whoever reads them.

Nothing is imported here: settings check an address without loading an HTTP client.
"""
