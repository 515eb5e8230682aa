'''The command line: a thin twin of the library. Only this package prints.

To add a command, write ``cli/<group>.py`` and name it in ``GROUPS`` of ``cli/main.py``:

    """``facekeep detect``: find the faces in pictures."""

    from facekeep.factory import open_engine
from facekeep.cli.command import ExitStatus, Run, command, group
        from facekeep.cli.options import ENGINE, Images

    app = group()  # or group("people", "The people.", examples=[...]) for `facekeep people ...`

    @command(app, "detect", uses=ENGINE, examples=["facekeep detect party.jpg --json"])
    def detect(run: Run, images: Images) -> ExitStatus:
        """Find the faces in pictures."""
        with open_engine(run.settings) as engine, run.progress("Detecting", len(images)) as advance:
            for image in images:
                faces = engine.detect(image)
                advance()
        if run.json:
            run.emit({"image": ..., "faces": [...]})  # once, or once a line for a stream
        else:
            run.table(["image", "faces"], rows)       # or run.say("one line of text")
        return ExitStatus.YES

Heavy packages are imported inside the body only. ``uses`` names settings (see ``SETTINGS`` in
``config.settings``): each becomes an option, and its value, whether from the option, the
environment, the file or the default, stands in ``run.settings``. Every command also takes
``--config``, ``--json``, ``--quiet`` and ``--verbose``. Errors need no code: raise a
``FacekeepError`` and ``main`` prints it and chooses the exit status. A command's own arguments and
options are annotated with ``typer.Argument`` or ``typer.Option`` and must have a help text and,
where they take a value, a metavar. Names used in the annotations of a command must exist at run
time (no ``if TYPE_CHECKING``). Afterward run ``python scripts/gen_cli_docs.py``.
'''
