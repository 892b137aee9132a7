"""The contract suite is a module of its own: its asserts are to be explained like any test's."""

import pytest

pytest.register_assert_rewrite("tests.contract.channel_contract", "tests.contract.http_contract")
