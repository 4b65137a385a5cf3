"""What a call logs is captured."""

import time


def test_records_are_kept_with_all_that_helps(host):
    host.module("""
        import logging

        log = logging.getLogger("my.tool")

        def work():
            log.info("%s of %d", "one", 3)
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("no")
    """)
    before = time.time()

    first, second = host.call("work").logged

    assert (first["level"], first["logger"], first["text"]) == ("INFO", "my.tool", "one of 3")
    assert (first["file"], first["line"], first["error"]) == (f"{host.code}/work.py", 7, None)
    assert before <= first["date"] <= time.time()
    assert second["level"] == "ERROR"
    assert second["error"].endswith("ZeroDivisionError: division by zero\n")


def test_debug_is_not_kept_unless_it_is_asked_for(host):
    host.module("""
        import logging

        def work():
            logging.debug("too much")
            logging.getLogger().setLevel(logging.DEBUG)
            logging.debug("asked for")
    """)

    assert [record["text"] for record in host.call("work").logged] == ["asked for"]


def test_what_a_module_logs_when_it_is_imported_is_kept(host):
    host.module("import logging\nlogging.info('imported')\ndef work(): pass")

    assert [record["text"] for record in host.call("work").logged] == ["imported"]


def test_a_program_that_configures_logging_gets_both(host):
    host.module("""
        import logging

        logging.basicConfig(level=logging.DEBUG, format="mine: %(message)s")

        def work():
            logging.debug("told")
    """)

    job = host.call("work")

    assert [record["text"] for record in job.logged] == ["told"]
    assert job.stderr == "mine: told\n"


def test_a_warning_is_seen_on_stderr_as_ever(host):
    host.module("import logging\ndef work():\n    logging.warning('careful')\n    logging.info('fine')")

    job = host.call("work")

    assert job.stderr.endswith("careful\n")
    assert "fine" not in job.stderr
    assert [record["text"] for record in job.logged] == ["careful", "fine"]


def test_a_record_that_can_not_be_written_breaks_nothing(host):
    host.module("""
        import logging, os

        def work():
            os.symlink("/nowhere/at/all", os.environ["XQUTE_JOB_METADIR"] + "/job.log")
            logging.info("lost")
            logging.info("%d", "wrong")
            return "done"
    """)

    assert host.call("work").result == "done"


def test_every_record_is_one_line(host):
    host.module("import logging\ndef work(): logging.info('a\\nb' + 'x' * 200000)")

    [record] = host.call("work").logged

    assert record["text"].startswith("a\nbx")
    assert len(record["text"]) <= 64 * 1024


def test_nothing_is_made_when_nothing_is_logged(host):
    host.module("def work(): pass")

    assert not (host.call("work").directory / "job.log").exists()
