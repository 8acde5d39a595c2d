"""Exit 0 while the service in this container takes requests; with nothing but Python's own library."""

import os
import urllib.request

port = os.environ.get("CIN_PORT", "8000")
# Anything but 200 raises.
urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=4)
