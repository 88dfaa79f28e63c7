"""The commands put together; what they have in common: errors and exit codes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import napari_medurwkv
from napari_medurwkv.cli import (
    batch,
    convert,
    demo,
    denoise,
    doctor,
    evaluate,
    export,
    inspect,
    models,
    redecide,
    segment,
    train,
)
from napari_medurwkv.cli.streams import CANCELLED, USER_ERROR, say
from napari_medurwkv.errors import CancelledError, MedurwkvError

__all__ = ["app"]


class _Group(TyperGroup):
    """Turns errors meant for users into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CancelledError as error:
            say(str(error))
            raise typer.Exit(CANCELLED) from error
        except KeyboardInterrupt:
            say("Cancelled; nothing was written.")
            raise typer.Exit(CANCELLED) from None
        except MedurwkvError as error:
            say(f"Error: {error}")
            raise typer.Exit(USER_ERROR) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medurwkv {napari_medurwkv.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Segment medical images with RWKV U-Nets. Research use only."""


app.command("segment")(segment.segment)
app.command("redecide")(redecide.redecide)
app.command("batch")(batch.batch)
app.command("denoise")(denoise.denoise)
app.command("demo")(demo.demo)
app.add_typer(models.app, name="models")
app.command("inspect")(inspect.inspect)
app.command("convert")(convert.convert)
app.command("doctor")(doctor.doctor)
app.command("export")(export.export)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
