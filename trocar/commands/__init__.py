"""One file a command, found by file name; the function has the file's name."""
