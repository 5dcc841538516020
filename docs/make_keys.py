"""Write docs/keys.md from the console's own table of keys."""

from __future__ import annotations

from pathlib import Path

from tui.keyboard.keymap import keys_at, shown
from tui.keyboard.keytable import PLACES

PAGE = Path(__file__).with_name("keys.md")
HEAD = """# Keys of the console

What changes the cluster (marked *) first shows exactly what it would do. `?` shows the keys of a view.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for place, spot in PLACES.items():
        keys = keys_at(place)
        if not keys:
            continue
        parts.append(f"\n## {spot.title}\n\n| key | does |\n|---|---|\n")
        for key in keys:
            names = ", ".join(f"`{shown(name)}`" for name in key.keys) or f"palette: {key.label}"
            parts.append(f"| {names}{' *' if key.changes else ''} | {key.help} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
