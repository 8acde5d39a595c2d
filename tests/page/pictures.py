"""An image for the page, handed over as a browser would, and what is seen of it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page

from service.api.routes.page import WEB

EXAMPLE = WEB / "examples" / "ISIC_0001140.jpg"

_TRANSFER = """([files, event]) => {
  const transfer = new DataTransfer();
  for (const [name, type, data] of files) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  const options = { bubbles: true, cancelable: true };
  window.dispatchEvent(event === "drop"
    ? new DragEvent("drop", { ...options, dataTransfer: transfer })
    : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
}"""


def hand_over(page: Page, event: str, *files: bytes, media_type: str = "image/jpeg") -> None:
    """Drop files on the page, or paste them."""
    named = [[f"lesion-{at}", media_type, base64.b64encode(data).decode()] for at, data in enumerate(files)]
    page.evaluate(_TRANSFER, [named, event])


def eventually(holds: Callable[[], object], seconds: float = 5) -> None:
    """Wait until something holds, which no assertion of the driver's can express."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never holds"
        time.sleep(0.05)


def stage_pixels(page: Page, path: Path) -> np.ndarray:
    """What the viewer shows ``[H, W, 3]``; ``path`` is for the screenshot."""
    page.locator("#stage").screenshot(path=path, animations="disabled")
    return np.asarray(Image.open(path).convert("RGB")).astype(int)
