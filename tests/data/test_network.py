from __future__ import annotations

import socket

import pytest

from distill_lab.data.network import socket_timeout


def test_a_limit_holds_inside_and_is_lifted_behind_whatever_happens():
    before = socket.getdefaulttimeout()
    with socket_timeout(0.5):
        assert socket.getdefaulttimeout() == 0.5
    with pytest.raises(ValueError, match="invalid literal"), socket_timeout(0.5):
        int("no number")
    assert socket.getdefaulttimeout() == before
