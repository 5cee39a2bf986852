"""Many recordings, one folder of results for each, here or over Ray."""
