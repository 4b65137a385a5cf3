"""Where the commands of schedulers are run."""
