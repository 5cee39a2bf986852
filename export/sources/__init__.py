"""Networks of other libraries, found from the files that those libraries write."""
