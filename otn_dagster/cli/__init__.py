"""The command line: words, progress and exit codes. Does not belong here: doing the work.

Exit codes: 0 good, 1 something was refused, held or failed, 2 the call itself was wrong.
"""
