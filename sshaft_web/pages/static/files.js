// The files of one terminal: a list of the folder, and the uploads.

import { announce } from "./announce.js";
import { keepDroppedFilesOut, onDrop } from "./files/drops.js";
import { FolderList } from "./files/folder_list.js";
import { UploadList } from "./files/upload_list.js";

/** Fills the element with the files of the terminal. */
export function mount(id, element) {
  element.append(document.getElementById("files-panel").content.cloneNode(true));
  const part = (name) => element.querySelector(`[data-part=${name}]`);
  const folder = new FolderList(id, element);
  const uploads = new UploadList(id, part("uploads"), (at) => folder.at === at && folder.reloadSoon());

  const upload = (files) => {
    if (folder.at === null) folder.complain("No folder is open yet. Open one, then choose the files again.");
    else uploads.add(files, folder.at);
  };
  const field = element.querySelector("input[type=file]");
  part("upload").addEventListener("click", () => field.click());
  field.addEventListener("change", () => {
    upload([...field.files]);
    field.value = ""; // the same file can be chosen again
  });
  onDrop(element, {
    drop: (files, folders) => {
      upload(files);
      if (folders) folder.complain("A folder cannot be uploaded. Pack it into one file first, for example with zip.");
    },
    over: (isOver) => element.classList.toggle("drop", isOver),
  });
  keepDroppedFilesOut();
  folder.open("");
  announce("Files");
}
