"""Devices: what the machine that runs a model is like.

Today this describes the host, for the benchmarks' `machine` object; device profiles and the cost
model build on it. The package needs nothing but the standard library, so that it runs on a board.
"""

from devices.host import Host, describe

__all__ = ["Host", "describe"]
