"""Hold the commands of ``rnn-verify``: their options, and what each of them calls."""
