/** The ways a picture comes in: dropped anywhere, pasted, chosen, taken, or one of the examples. */

import { byId, h } from "./dom.js";
import { text } from "./strings.js";

const EXAMPLES = { melanoma: "/web/examples/ISIC_0001140.jpg", nevus: "/web/examples/ISIC_0013793.jpg" };

/**
 * @param {object} listeners
 * @param {(address: string) => Promise<Blob>} listeners.fetched
 * @param {(file: Blob, example: string | null) => void} listeners.onPicture
 * @param {(error: unknown, again: () => void) => void} listeners.onFail
 */
export function setUpIntake({ fetched, onPicture, onFail }) {
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
          onPicture(await fetched(address), name);
        } catch (error) {
          onFail(error, open);
        }
      };
      return h("li", h("button", { class: "example", onclick: open }, h("img", { src: address, alt: "", width: 96, height: 72 }), h("span", h("strong", title), h("span", { class: "fine" }, source))));
    }),
  );
}
