"""Parts of the ``cin`` command."""
