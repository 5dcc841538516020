"""The keys that move the cursor of a table."""

from __future__ import annotations

from tui.widgets.arranging import Arranging


class Walking(Arranging):
    """Under a table."""

    def action_down(self) -> None:
        self.move_to(self.cursor + 1)

    def action_up(self) -> None:
        self.move_to(self.cursor - 1)

    def action_top(self) -> None:
        self.move_to(0, follow=True)

    def action_bottom(self) -> None:
        self.move_to(len(self.listing) - 1)

    def action_half_down(self) -> None:
        self.move_to(self.cursor + max(1, self.body_height // 2))

    def action_half_up(self) -> None:
        self.move_to(self.cursor - max(1, self.body_height // 2))

    def action_page_down(self) -> None:
        self.move_to(self.cursor + max(1, self.body_height - 1))

    def action_page_up(self) -> None:
        self.move_to(self.cursor - max(1, self.body_height - 1))

    def action_left(self) -> None:
        self.scroll_cells_by(-8)

    def action_right(self) -> None:
        self.scroll_cells_by(8)

    def action_next_match(self) -> None:
        if len(self.listing):
            self.move_to((self.cursor + 1) % len(self.listing))

    def action_previous_match(self) -> None:
        if len(self.listing):
            self.move_to((self.cursor - 1) % len(self.listing))
