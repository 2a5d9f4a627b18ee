"""How ``--help`` describes commands."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class _PlainFlags:
    """Options that take no value name no type of one."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments and options."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class Command(_PlainFlags, TyperCommand):
    """A command."""


class Group(_PlainFlags, TyperGroup):
    """All commands."""


class SearchingCommand(Command):
    """A command that searches folders; its help lists the endings that it searches for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from ..run.sources import searched_endings

        endings = ", ".join(searched_endings())
        self.epilog = f"Folders and globs are searched for {endings}.\n\n{self.epilog}"
        super().format_help(ctx, formatter)
