'''The command line: a thin twin of the library. Only this package prints.

To add a command, write ``cli/<name>.py`` and name it in ``COMMANDS`` of ``cli/app.py``:

    """``facekeep detect``: find the faces in pictures."""

    import click

    from facekeep.cli.command import ExitStatus, Run, command, group
    from facekeep.cli.options import ENGINE, images_argument
    from facekeep.factory import open_engine

    app = group()  # or group("people", "The people.", examples=[...]) for `facekeep people ...`

    @command(app, "detect", uses=ENGINE, examples=["facekeep detect party.jpg --json"])
    @images_argument
    @click.option("--largest", is_flag=True, help="Only the largest face.")
    def detect(run: Run, images: tuple[str, ...], largest: bool) -> ExitStatus:
        """Find the faces in pictures."""
        with open_engine(run.settings) as engine, run.progress("Detecting", len(images)) as advance:
            for image in images:
                faces = engine.detect(image)[: 1 if largest else None]
                advance()
        if run.json:
            run.emit({"image": ..., "faces": [...]})  # once, or once a line for a stream
        else:
            run.table(["image", "faces"], rows)       # or run.say("one line of text")
        return ExitStatus.YES

``facekeep --help`` imports no command, so ``COMMANDS`` also has the first sentence of its help.
Heavy packages are imported inside the body only. ``uses`` names settings (see ``SETTINGS`` in
``config.settings``): each becomes an option, and its value, whether from the option, the
environment, the file or the default, stands in ``run.settings``. Every command also takes
``--config``, ``--json``, ``--quiet`` and ``--verbose``. Errors need no code: raise a
``FacekeepError`` and ``main`` prints it and chooses the exit status. A command's own arguments and
options are made by ``options.argument`` and ``click.option`` and must have a help text and, where
they take a value, a metavar. Afterward run ``python scripts/gen_cli_docs.py``.
'''
