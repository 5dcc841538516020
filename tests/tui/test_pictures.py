"""Every view has a picture, and those that documents show are kept with them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
VIEWS = {
    *("nodes", "heatmap", "node", "approvals", "queue", "groups", "task", "output", "why", "cancel", "submit"),
    *("workflows", "dag", "dag-layers", "letters", "cause", "canary", "events", "audit", "operations", "operation"),
    *("drain", "drain-progress", "past", "differences", "help", "palette", "command", "columns", "leader-lost"),
    "link-lost",
}


def drawn() -> tuple[set[str], set[str]]:
    """Names of all pictures that are drawn, and of those that are kept."""
    tree = ast.parse((ROOT / "screenshots" / "make.py").read_text(encoding="utf-8"))
    taken: set[str] = set()
    kept: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "take":
            taken |= {one.value for one in node.args if isinstance(one, ast.Constant)}
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            # Pictures in a loop over their names and keys.
            taken |= {ast.literal_eval(one.elts[0]) for one in node.iter.elts if isinstance(one, ast.Tuple)}
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SHOWN":
            assert isinstance(node.value, ast.Call)
            kept = set(ast.literal_eval(node.value.args[0]))
    return taken, kept


def test_every_view_has_a_picture() -> None:
    taken, kept = drawn()
    assert taken >= VIEWS
    assert kept <= taken
    assert {path.stem for path in (ROOT / "screenshots").glob("*.svg")} == kept


def test_documents_show_all_that_are_kept_and_no_other() -> None:
    _, kept = drawn()
    shown = set(re.findall(r"\]\(screenshots/([\w-]+)\.svg\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert shown == kept
