"""The command line: `xqute ls`, `show`, `logs`, `why`, `kill`, `resume`, `prune`; and `xqute report` in jobs.

`app` knows the commands by name and loads one when it is used; each has a file of its own, with what
it takes and what it does.
"""
