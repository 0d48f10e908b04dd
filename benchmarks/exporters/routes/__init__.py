"""Export one model each, by one way: small programs that run in other environments.

Each module has a function ``export(source, out)``, which writes `out` from the file or
folder `source`. It may return a sentence on what it wrote. Those whose files
``rnn-verify`` cannot run have ``outputs(out, inputs)``, which runs them in their own
runtime. None may import ``verify``: its packages are not in these environments.
"""
