"""Labels of instruments: their text, their places, how they are drawn."""
