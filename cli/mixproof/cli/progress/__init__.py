"""Progress of a command in terms of the user's work: on a terminal, in a log, and in the store's log file."""
