"""A picture for the page, handed over as a browser would, and what is seen of it."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page

from service.api.routes.page import WEB

EXAMPLE = WEB / "examples" / "ISIC_0001140.jpg"

_TRANSFER = """([data, type, event]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "lesion.jpg", { type }));
  const options = { bubbles: true, cancelable: true };
  window.dispatchEvent(event === "drop"
    ? new DragEvent("drop", { ...options, dataTransfer: transfer })
    : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
}"""


def hand_over(page: Page, event: str, data: bytes, media_type: str = "image/jpeg") -> None:
    """Drop a file on the page, or paste it."""
    page.evaluate(_TRANSFER, [base64.b64encode(data).decode(), media_type, event])


def stage_pixels(page: Page, path: Path) -> np.ndarray:
    """What the viewer shows ``[H, W, 3]``; ``path`` is for the screenshot."""
    page.locator("#stage").screenshot(path=path, animations="disabled")
    return np.asarray(Image.open(path).convert("RGB")).astype(int)
