"""The types of the fixtures in conftest.py, for the signatures of the tests."""

from collections.abc import Callable

from tests.interop.classic_client import ClassicClient
from tests.interop.classic_server import ClassicServer
from tests.interop.processes import Directory, Program

AnyDirectory = Directory | ClassicServer
StartChat = Callable[..., Program]
StartClassic = Callable[..., ClassicClient]
