"""How ``--help`` describes commands."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class _Plain:
    """Paragraphs flow, whatever lines they were written in, and each option is in a group.

    Options that take no value name no type of one.
    """

    def __init__(self, *args: Any, help: str | None = None, **more: Any) -> None:
        super().__init__(*args, help=_flowing(help), **more)  # type: ignore[call-arg]

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments and options; those of no group are in the last one."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        group = None
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
            if param.param_type_name == "option":
                group = getattr(param, "rich_help_panel", None) or group
                param.rich_help_panel = group
        return params


class Command(_Plain, TyperCommand):
    """A command."""


class Group(_Plain, TyperGroup):
    """All commands."""


class SearchingCommand(Command):
    """A command that searches folders; its help lists the endings that it searches for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from ..run.sources import searched_endings

        endings = ", ".join(searched_endings())
        self.epilog = f"{self.epilog}\n\nFolders and globs are searched for {endings}."
        super().format_help(ctx, formatter)


def _flowing(text: str | None) -> str | None:
    """Text without line breaks but those between paragraphs."""
    paragraphs = (text or "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs) or None
