"""What a database means to do for a statement, told by its own EXPLAIN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select


def full_scans(connection: Connection, statement: Select[Any], table: str) -> list[str]:
    """The steps of the plan that read the table, or an index of it, from end to end; it has no alias."""
    query = statement.compile(connection, compile_kwargs={"literal_binds": True})
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
        return [step.detail for step in plan if f"{step.detail} ".startswith(f"SCAN {table} ")]
    [described] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}").scalar_one()
    return [
        f"{node['Node Type']} on {node.get('Alias', table)}"
        for node in _nodes(described["Plan"])
        if node.get("Relation Name") == table and _reads_all(node)
    ]


def described(connection: Connection, statement: Select[Any]) -> str:
    """The plan as the database tells it, with the names of the indexes that it uses."""
    query = statement.compile(connection, compile_kwargs={"literal_binds": True})
    how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(row) for row in connection.exec_driver_sql(f"{how} {query}"))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)


def _reads_all(node: dict[str, Any]) -> bool:
    # A bitmap's condition stands with the index below it.
    return "Index Cond" not in node and node["Node Type"] != "Bitmap Heap Scan"
