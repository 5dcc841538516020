"""How values look in a terminal: text that is safe, ages and sizes, glyphs, fields of many values. Pure."""
