"""Public helpers for tests: conformance suites, and verified fakes."""
