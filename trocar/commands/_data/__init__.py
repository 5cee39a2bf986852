"""The commands of the group `trocar data`."""
