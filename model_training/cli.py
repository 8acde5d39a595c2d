"""``cin-train``: from the official pictures to a model bundle."""

from __future__ import annotations

from typing import Any

# Imported for their commands, in the order in which ``--help`` lists them.
from model_training.commands import data, stages, studies, withholding  # noqa: F401
from model_training.commands.options import app


def main() -> Any:
    """Entry point of the ``cin-train`` command."""
    return app()


if __name__ == "__main__":  # for torchrun
    main()
