"""How a command behaves: exit codes, progress, Ctrl-C."""
