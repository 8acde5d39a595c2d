/** The ways images come in: dropped anywhere, a folder of them too, pasted, chosen, taken, or one of the examples. */

import { byId, h, input } from "./dom.js";
import { text } from "./strings.js";

const EXAMPLES = { melanoma: "ISIC_0001140", nevus: "ISIC_0013793" };
/** What systems leave in folders. */
const SYSTEM = /^(\.|Thumbs\.db$|desktop\.ini$|__MACOSX$)/i;

/**
 * @param {object} listeners
 * @param {(address: string) => Promise<Blob>} listeners.fetched
 * @param {(files: File[], example: string | null) => void} listeners.onFiles
 * @param {(error: unknown, again: () => void) => void} listeners.onFail
 */
export function setUpIntake({ fetched, onFiles, onFail }) {
  const take = (/** @type {Iterable<File>} */ files) => {
    const wanted = [...files].filter(({ name }) => !SYSTEM.test(name));
    if (wanted.length) onFiles(wanted, null);
  };
  for (const [button, id] of [["choose", "file"], ["choose-folder", "folder"], ["take", "camera"]]) {
    const field = input(id);
    byId(button).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      take(field.files ?? []);
      field.value = ""; // so that the same image can be chosen again
    });
  }
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(await filesIn(event.dataTransfer));
  });
  addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
  byId("examples").append(
    ...Object.entries(EXAMPLES).map(([name, image]) => {
      const address = `/web/examples/${image}.jpg`;
      const open = async () => {
        try {
          onFiles([new File([await fetched(address)], "")], name);
        } catch (error) {
          onFail(error, open);
        }
      };
      return h("li", h("button", { class: "example", onclick: open }, h("img", { src: address, alt: "", width: 96, height: 72 }), h("span", h("strong", text.examples[name].title), h("span", { class: "fine" }, `${image}, CC0`))));
    }),
  );
}

/** Every file that was dropped, those in folders too. @param {DataTransfer | null} transfer @returns {Promise<File[]>} */
async function filesIn(transfer) {
  // Both lists are emptied once the event is over.
  const files = [...(transfer?.files ?? [])];
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  return (await Promise.all(entries.map(filesBelow))).flat();
}

/** @param {FileSystemEntry} entry @returns {Promise<File[]>} */
async function filesBelow(entry) {
  if (SYSTEM.test(entry.name)) return [];
  if (entry.isFile) return [await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject))];
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (some.length === 0) return (await Promise.all(found.map(filesBelow))).flat();
    found.push(...some);
  }
}
