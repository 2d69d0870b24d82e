"""What the belief in the local endpoint rests on: rows in `tests/fidelity/`, the page made of them, and their proof."""
