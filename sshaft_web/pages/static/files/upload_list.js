// Shows the uploads, and runs a few of them at once.

import { announce } from "../announce.js";
import { printable, size } from "../texts.js";
import { encoded } from "./paths.js";
import { Upload } from "./upload.js";

const AT_ONCE = 2;

export class UploadList {
  #id;
  #section;
  #uploads = [];
  #uploaded;

  /** `uploaded` is called with the folder of each complete upload. */
  constructor(id, section, uploaded) {
    this.#id = id;
    this.#section = section;
    this.#uploaded = uploaded;
    addEventListener("online", () => this.#uploads.forEach((upload) => upload.hurry()));
    addEventListener("offline", () => this.#uploads.forEach((upload) => upload.interrupt()));
    addEventListener("beforeunload", (event) => {
      if (this.#isShown && this.#uploads.some(({ runs, state }) => runs || state === "waiting")) event.preventDefault();
    });
  }

  /** Uploads the files to a folder, whose path is percent-encoded. */
  add(files, folder) {
    for (const file of files) {
      const row = document.getElementById("files-upload").content.firstElementChild.cloneNode(true);
      this.#name(row, printable(file.name, 120));
      this.#section.querySelector("ul").append(row);
      this.#start(file, folder, row);
    }
    this.#section.hidden = !this.#section.querySelector("li");
    this.#next();
  }

  #name(row, name) {
    row.querySelector("bdi").textContent = name;
    row.querySelector("progress").setAttribute("aria-label", `Upload of ${name}`);
    for (const each of row.querySelectorAll("button .unseen")) each.textContent = ` ${name}`;
  }

  #start(file, folder, row) {
    let name;
    try {
      name = encoded(file.name);
    } catch {
      row.querySelector(".fact").textContent = "The name of this file cannot be sent. Rename it on your computer first.";
      return;
    }
    const upload = new Upload(this.#id, file, folder, name);
    this.#uploads.push(upload);
    upload.addEventListener("change", () => this.#changed(upload, row));
    this.#show(upload, row);
  }

  get #isShown() {
    return this.#section.isConnected;
  }

  #next() {
    for (const upload of this.#uploads.filter(({ state }) => state === "waiting")) {
      if (!this.#isShown || this.#uploads.filter(({ runs }) => runs).length >= AT_ONCE) return;
      upload.run();
    }
  }

  #changed(upload, row) {
    if (!this.#isShown && upload.runs) return void upload.pause(); // the terminal was closed
    this.#show(upload, row);
    const name = row.querySelector("bdi").textContent;
    if (upload.state === "done") {
      announce(`${name} is uploaded.`);
      this.#uploaded(upload.folder);
    } else if (upload.state === "failed") announce(`${name}: ${upload.error}`);
    else if (upload.state === "exists") announce(`${name} is there already. Replace it?`);
    if (!upload.runs) this.#next();
  }

  #show(upload, row) {
    const bar = row.querySelector("progress");
    const total = upload.file.size;
    bar.max = total || 1;
    bar.value = upload.state === "done" ? bar.max : upload.offset;
    bar.hidden = upload.isOver;
    row.dataset.state = upload.state;
    row.querySelector(".fact").textContent = inWords(upload, total);
    const shown = {
      pause: upload.runs || upload.state === "waiting",
      resume: upload.state === "paused",
      again: upload.state === "failed",
      hurry: upload.state === "retrying",
      replace: upload.state === "exists",
      cancel: !upload.isOver,
      remove: upload.isOver,
    };
    for (const [name, action] of Object.entries(this.#actions(upload, row))) {
      const button = row.querySelector(`[data-do=${name}]`);
      if (button.hidden === shown[name]) this.#toggle(button, shown[name]);
      button.onclick = action;
    }
  }

  /** Shows or hides a button. The focus goes to the next one, and not back to the page. */
  #toggle(button, shown) {
    const hadFocus = button === document.activeElement;
    button.hidden = !shown;
    if (hadFocus) queueMicrotask(() => button.closest("li")?.querySelector("button:not([hidden])")?.focus());
  }

  #actions(upload, row) {
    const again = () => upload.again();
    return {
      pause: () => upload.pause(),
      resume: again,
      again,
      hurry: () => upload.hurry(),
      replace: () => upload.replace(),
      cancel: () => upload.cancel(),
      remove: () => this.#remove(upload, row),
    };
  }

  #remove(upload, row) {
    this.#uploads = this.#uploads.filter((each) => each !== upload);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.#section.hidden = !next;
    (next?.querySelector("button:not([hidden])") ?? this.#section.closest(".files").querySelector("[data-part=upload]")).focus();
  }
}

function inWords({ state, offset, error, speed }, total) {
  const part = `${size(offset)} of ${size(total)}`;
  switch (state) {
    case "waiting": return `Waiting, ${size(total)}`;
    case "sending": return speed ? `${part}, ${size(speed)}/s` : part;
    case "paused": return `Paused at ${part}`;
    case "retrying": return `${error} It goes on by itself at ${part}.`;
    case "exists": return "A file of this name is there already.";
    case "failed": return error;
    case "done": return `Uploaded, ${size(total)}`;
    default: return "Cancelled";
  }
}
