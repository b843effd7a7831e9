"""What the commands do, one file each; `rtpe.cli` finds them by name."""
