"""The one place under holdfast/ that knows Prefect.

Import its modules by name: `server` comes first, because Prefect reads its settings when it is imported.
"""
