"""From a label map to located instruments: regions, axes, entries and tips."""
