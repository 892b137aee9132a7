"""The one place under holdfast/ that knows Prefect: server, deployments, runs, follow-ups, artifacts, Secret blocks.

Import its modules by name: `server` comes first, because Prefect reads its settings when it is imported.
"""
