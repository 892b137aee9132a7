"""Supported stand-ins for tests, each with a contract test of its own."""
