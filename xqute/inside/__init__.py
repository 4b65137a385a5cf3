"""What runs in the job's own process: it finds the function, calls it, and writes how it ended.

```
start.py       the file that Python is given; finds this package
run.py         one call, from its script to its return code
loading.py     the payload, the place, the function and its arguments
results.py     job.result
failing.py     job.error
killing.py     what SIGTERM does
logs.py        job.log
current.py     current_job(): what a call may say and ask
running.py     the commands it runs
requiring.py   the calls it needs first
```

It needs the standard library and nothing else, and as little of it as can be: every job that can't
begin in a copy of a warm process pays for it.
"""
