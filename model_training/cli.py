"""``cin-train``: from the official pictures to a model bundle."""

from __future__ import annotations

import logging
from typing import Any

# Imported for their commands, in the order in which ``--help`` lists them.
from model_training.commands import data, stages, studies, withholding  # noqa: F401
from model_training.commands.options import app


def main() -> Any:
    """Entry point of the ``cin-train`` command."""
    # Fabric announces its precision each time it is made, which a plan does dozens of times; a run says it once itself.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    return app()


if __name__ == "__main__":  # for torchrun
    main()
