"""``facekeep doctor``: what works on this machine, and why not."""

from facekeep.cli.command import group

app = group()
