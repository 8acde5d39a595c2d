/** The ways a picture comes in: dropped anywhere, pasted, chosen, taken, or one of the examples. */

import { byId, h } from "./dom.js";
import { text } from "./strings.js";

const EXAMPLES = { melanoma: "/web/examples/ISIC_0001140.jpg", nevus: "/web/examples/ISIC_0013793.jpg" };

/**
 * @param {object} listeners
 * @param {(file: Blob, example: string | null) => void} listeners.onPicture
 * @param {(error: unknown) => void} listeners.onFail
 */
export function setUpIntake({ onPicture, onFail }) {
  const take = (/** @type {FileList | null | undefined} */ files) => {
    if (files?.[0]) onPicture(files[0], null);
  };
  for (const [button, input] of [["choose", "file"], ["take", "camera"]]) {
    const field = /** @type {HTMLInputElement} */ (byId(input));
    byId(button).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      take(field.files);
      field.value = ""; // so that the same picture can be chosen again
    });
  }
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(event.dataTransfer?.files);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });
  byId("examples").append(
    ...Object.entries(EXAMPLES).map(([name, address]) => {
      const { title, source } = text.examples[name];
      const open = async () => {
        try {
          onPicture(await (await fetch(address)).blob(), name);
        } catch (error) {
          onFail(error);
        }
      };
      return h("li", h("button", { type: "button", class: "example", onclick: open }, h("img", { src: address, alt: "", width: 96, height: 72 }), h("span", h("strong", title), h("span", { class: "fine" }, source))));
    }),
  );
}
