// Shows one folder of the host. Names are foreign text, and the server has made them safe to show.

import { announce } from "../announce.js";
import { plural, size } from "../texts.js";
import { encoded, join, parent } from "./paths.js";
import { downloadAddress, listed, look } from "./requests.js";

const PAUSE = 300; // milliseconds
const PORTION = 200;
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class FolderList {
  /** The percent-encoded path of the folder that is shown, or null. */
  at = null;
  #id;
  #element;
  #asked = 0;
  #path = ""; // as the person reads it
  #timer = 0;

  constructor(id, element) {
    this.#id = id;
    this.#element = element;
    const form = this.#part("path");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#openTyped(form.elements.path.value);
    });
    this.#part("up").addEventListener("click", () => this.open(parent(this.at ?? "/")));
    this.#part("reload").addEventListener("click", () => this.open(this.at ?? ""));
  }

  /** Shows the folder. The path is percent-encoded; an empty one is the home folder. */
  async open(path) {
    const folder = await this.#fetch(path);
    if (!folder) return;
    announce(`${folder.path}: ${plural(folder.entries.length, "entry", "entries")}`);
    if (this.#element.contains(document.activeElement)) this.#part("names").focus({ preventScroll: true });
  }

  /** Shows the same folder again after a moment: many files may arrive at once. */
  reloadSoon() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#reload();
    }, PAUSE);
  }

  /** Leaves the focus where it is. */
  async #reload() {
    const names = this.#part("names");
    const focused = names.contains(document.activeElement) ? document.activeElement : null;
    await this.#fetch(this.at);
    if (!focused || document.activeElement !== document.body) return;
    const same = [...names.querySelectorAll("[data-at]")].find(({ dataset }) => dataset.at === focused.dataset.at);
    (same ?? names).focus({ preventScroll: true });
  }

  /** Shows a sentence about what did not work. An empty one takes it away. */
  complain(sentence) {
    const trouble = this.#part("trouble");
    trouble.textContent = sentence;
    trouble.hidden = !sentence;
  }

  async #fetch(path) {
    const number = (this.#asked += 1);
    this.#part("names").setAttribute("aria-busy", "true");
    try {
      const folder = await listed(this.#id, path);
      if (number === this.#asked) await this.#show(folder);
      return number === this.#asked && folder;
    } catch (error) {
      if (number === this.#asked) this.complain(error.message);
      return null;
    } finally {
      if (number === this.#asked) this.#part("names").removeAttribute("aria-busy");
    }
  }

  async #show({ path, at, entries, more, strange }) {
    this.at = at;
    this.#path = path;
    this.complain("");
    this.#part("path").elements.path.value = path;
    this.#part("up").disabled = at === "/";
    const list = this.#part("names");
    list.setAttribute("aria-label", `Files in ${path}`);
    const notes = [
      ...(entries.length ? [] : ["The folder is empty."]),
      ...(more ? ["The folder has more entries than are shown here."] : []),
      ...(strange ? [`${plural(strange, "entry has a name", "entries have names")} that no file can have. They are not shown.`] : []),
    ];
    this.#part("note").textContent = notes.join(" ");
    this.#part("note").hidden = !notes.length;
    list.replaceChildren();
    await this.#fill(list, entries);
  }

  /** Adds the rows in portions: the keys of the terminal go on meanwhile. */
  async #fill(list, entries) {
    const number = this.#asked;
    for (let start = 0; start < entries.length && number === this.#asked; start += PORTION) {
      list.append(...entries.slice(start, start + PORTION).map((entry) => this.#row(entry)));
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  #row(entry) {
    const isLink = entry.type === "link";
    const kind = isLink ? entry.target : entry.type;
    const { content } = document.getElementById("files-entry");
    const row = (content.querySelector(`[data-kind=${kind}]`) ?? content.querySelector("[data-kind=other]")).cloneNode(true);
    const control = row.firstElementChild;
    this.#bind(control, entry, kind);
    control.querySelector("bdi").textContent = entry.name;
    control.querySelector(".unseen").textContent = words(isLink, kind);
    const facts = [
      ...(isLink ? [kind ? "link" : "broken link"] : []),
      ...(kind === "other" ? ["no ordinary file"] : []),
      ...(entry.size === null ? [] : [size(entry.size)]),
      ...(entry.modified === null ? [] : [time.format(1000 * entry.modified)]),
    ];
    row.querySelector(".fact").textContent = facts.join(", ");
    return row;
  }

  #bind(control, entry, kind) {
    const path = join(this.at, entry.at);
    if (kind === "folder") control.addEventListener("click", () => this.open(path));
    if (kind === "file") {
      control.href = downloadAddress(this.#id, path);
      control.addEventListener("click", (event) => this.#download(event, path, entry.name));
    }
    control.dataset.at = entry.at;
  }

  /** Asks first whether the file can be read: the browser would show only a failed download. */
  async #download(event, path, name) {
    event.preventDefault();
    try {
      await look(this.#id, path);
    } catch (error) {
      this.complain(error.message);
      return;
    }
    this.complain("");
    const link = document.createElement("a");
    link.href = downloadAddress(this.#id, path);
    link.download = "";
    link.click();
    announce(`The download of ${name} has started.`);
  }

  #openTyped(text) {
    try {
      this.open(text === this.#path ? this.at : encoded(text.trim())); // what is shown may hold escapes
    } catch {
      this.complain("This path cannot be sent. Type it again.");
    }
  }

  #part(name) {
    return this.#element.querySelector(`[data-part=${name}]`);
  }
}

/** Returns what a screen reader adds to a name. */
function words(isLink, kind) {
  const found = [...(isLink ? ["link"] : []), ...(kind === "folder" ? ["folder"] : [])];
  return found.length ? ` (${found.join(", ")})` : "";
}
