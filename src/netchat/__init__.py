"""NetChat: direct messaging for networks that people own."""

__version__ = "0.1.0"
