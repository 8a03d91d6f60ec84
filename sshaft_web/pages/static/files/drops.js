// Takes files that a person drops on the page.

let isKept = false;

/** Calls `drop` with the files and the number of folders, and `over` when files come over the element or leave it. */
export function onDrop(element, { drop, over }) {
  let depth = 0; // each element inside has an enter and a leave of its own
  const move = (by) => {
    depth = by ? Math.max(0, depth + by) : 0;
    over(depth > 0);
  };
  element.addEventListener("dragenter", (event) => holdsFiles(event) && move(1));
  element.addEventListener("dragleave", (event) => holdsFiles(event) && move(-1));
  element.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    move(0);
    const items = [...event.dataTransfer.items].filter(({ kind }) => kind === "file");
    const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory ?? false;
    drop(items.filter((item) => !isFolder(item)).map((item) => item.getAsFile()).filter(Boolean), items.filter(isFolder).length);
  });
}

/** Keeps the browser from leaving the page for a file that is dropped beside the panel. */
export function keepDroppedFilesOut() {
  if (isKept) return;
  isKept = true;
  for (const name of ["dragover", "drop"]) {
    addEventListener(name, (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      if (!event.target.closest?.(".files")) event.dataTransfer.dropEffect = "none";
    });
  }
}

function holdsFiles({ dataTransfer }) {
  return dataTransfer?.types.includes("Files");
}
