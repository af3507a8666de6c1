"""What to do with a result: the buttons that appear when a fit has ended with one."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QWidget


class NextSteps(QWidget):
    """Scrub, compare, export."""

    scrub_clicked = Signal()
    compare_clicked = Signal(bool)
    """True: side by side; False: back to one view."""
    export_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scrub_button = QPushButton("Scrub")
        self.scrub_button.setToolTip("Go to any depth of the volume, in the Depth tab.")
        self.compare_button = QPushButton("Compare side by side")
        self.compare_button.setCheckable(True)
        self.compare_button.setToolTip("The stack, linear interpolation and EMGauss in a grid that moves together.")
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write the isotropic volume; a name beside the stack is suggested.")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for button, stretch in ((self.scrub_button, 2), (self.compare_button, 4), (self.export_button, 2)):
            # As wide as their share: their wishes would make the whole dock wider.
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            row.addWidget(button, stretch)
        self.scrub_button.clicked.connect(self.scrub_clicked)
        self.compare_button.clicked.connect(self.compare_clicked)
        self.export_button.clicked.connect(self.export_clicked)

    def show_compared(self, compared: bool) -> None:
        """Whether the layers are side by side now."""
        self.compare_button.setChecked(compared)
        self.compare_button.setText("Back to one view" if compared else "Compare side by side")
