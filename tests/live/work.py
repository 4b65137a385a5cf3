"""What the live tests run as Python calls."""

from xqute import current_job, task


@task
def square(number):
    current_job().progress(1, 1, f"square of {number}")
    return number * number


@task
def total(numbers):
    more = current_job().require([square(10), square(11)])
    return sum(numbers) + sum(more)


@task
def fails():
    raise ValueError("as it should")
