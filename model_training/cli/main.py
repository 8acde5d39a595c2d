"""``cin-train``: from the official images to a model bundle."""

from __future__ import annotations

import logging
from typing import Any

try:
    # Imported for their commands, in the order in which ``--help`` lists them.
    from model_training.cli import data, abstention, robustness, bundles, run, studies, controls  # noqa: F401  # isort: skip
    from model_training.cli.options import app as app
except ModuleNotFoundError as error:  # only the service is installed
    if (error.name or "").partition(".")[0] in ("model_training", "service"):
        raise  # a bug: no installation helps
    raise SystemExit(
        f"cin-train: {error.name} is not installed, as all that training needs beyond serving; install the extra "
        "`train` (pip install --editable '.[train]' --constraint constraints.txt), or run `make test`, which does"
    ) from error


def main() -> Any:
    """Entry point of the ``cin-train`` command."""
    # Fabric logs its precision at each creation, dozens of times in a plan; a run logs it once itself.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    return app()


if __name__ == "__main__":  # for torchrun
    main()
