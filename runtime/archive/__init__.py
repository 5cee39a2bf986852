"""Many recordings, a folder of results for each, in one process or over Ray."""
