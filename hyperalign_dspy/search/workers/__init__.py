"""One run, many processes: the board on which calls are left and found, who leads and who helps."""
