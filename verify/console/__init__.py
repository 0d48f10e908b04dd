"""Give every command its exit codes, progress, tables and answer to Ctrl-C."""
