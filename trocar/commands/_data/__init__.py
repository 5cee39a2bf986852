"""The commands of ``trocar data``, one file each."""
