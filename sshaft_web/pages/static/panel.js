// One terminal on the page: its tools, its state in words, its screen, and the connection that feeds the screen.

import { announce } from "./announce.js";
import { bindBell, bindTitle } from "./titles.js";
import { bindOsc52, bindPaste, copy, paste } from "./clipboard.js";
import { Connection } from "./connection.js";
import { askForText } from "./dialogs.js";
import { FilePanel } from "./file_panel.js";
import { bindFullScreen } from "./full_screen.js";
import { KeyRow } from "./key_row.js";
import { Notices } from "./notices.js";
import { Screen } from "./screen.js";
import { SearchBar } from "./search.js";
import { onChange, settings } from "./settings.js";
import { described } from "./states.js";
import { size } from "./texts.js";

const SEEN_BYTES = 64 * 1024;
const encoder = new TextEncoder();

/** The events are `title` ({title}), `bell`, `leave`, `again`, `close` and `sign in`. */
export class Panel extends EventTarget {
  #connection = null;
  #told = 0; // the last offset that the server knows to be seen
  #facts;
  #ended = new AbortController();

  /** `host` has the name and the title of the target. */
  constructor(host) {
    super();
    this.host = host;
    this.#facts = { host: host.title };
    this.element = document.getElementById("panel").content.firstElementChild.cloneNode(true);
    this.#part("h1").textContent = `Terminal on ${host.title}`;
  }

  /** Makes the screen. The element must be in the page, and visible. */
  begin() {
    this.screen = new Screen(this.#part(".screen"));
    const { terminal } = this.screen;
    this.notices = new Notices(this.#part(".notices"));
    this.search = new SearchBar(this.#part(".search"), this.screen);
    this.files = new FilePanel(this.#part("aside"), this.#tool("files"));
    this.keys = new KeyRow(this.#part(".keys"), terminal, { paste: () => this.#pasteFromField(), text: () => this.#showText() });
    bindPaste(this.screen, () => this.#connection?.open);
    bindOsc52(this.screen, this.notices, this.host.title);
    bindTitle(terminal, (title) => this.#tell("title", { title }));
    bindBell(this.screen, () => this.#tell("bell"));
    terminal.attachCustomKeyEventHandler((event) => this.#isForTerminal(event));
    terminal.textarea.setAttribute("aria-description", "Press Control F6 to leave the terminal.");
    terminal.onData((text) => this.#type(encoder.encode(this.keys.modified(text))));
    terminal.onBinary((text) => this.#type(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    terminal.onResize(({ cols, rows }) => this.#connection?.size(cols, rows));
    for (const tool of ["search", "files", "close"]) this.#tool(tool).addEventListener("click", () => this.#use(tool));
    const { signal } = this.#ended;
    bindFullScreen(this.#tool("full"), () => this.notices.show("full", "This browser has no full screen for pages."), signal);
    onChange(() => this.#showKeys(), signal);
    this.#showKeys();
    this.screen.fit();
    this.show("connecting");
  }

  /** Connects to the terminal at the server. `saved` is what an earlier page knew of it. */
  connect(id, saved) {
    this.id = id;
    if (saved) this.screen.restore(saved);
    this.#told = this.screen.written;
    const connection = new Connection(id, this.screen.written);
    this.#connection = connection;
    const on = (name, action) => connection.addEventListener(name, ({ detail }) => action(detail));
    on("connected", () => this.#connection.size(this.screen.terminal.cols, this.screen.terminal.rows));
    on("output", ({ bytes, past }) => this.screen.write(bytes, past, () => this.#seen()));
    on("lost", ({ count }) => this.#lost(count));
    on("state", (state) => this.show(state.state, state));
    on("recording", ({ on: recorded }) => this.#recorded(recorded));
    connection.connect();
  }

  /** Shows a state of the terminal, and reads it out. */
  show(state, facts = {}) {
    const known = Object.entries(facts).filter(([name, value]) => value && name !== "host");
    Object.assign(this.#facts, Object.fromEntries(known));
    const { tone, sentence, action, means } = described(state, this.#facts);
    this.#part(".state .text").textContent = sentence;
    this.element.dataset.tone = tone;
    const button = this.#part("[data-part=action]");
    button.hidden = !action;
    button.textContent = action ?? "";
    button.onclick = () => this.#act(means);
    if (!this.element.hidden) announce(sentence);
    this.isOver = ["ended", "gone", "signed out"].includes(state);
  }

  hurry() {
    this.#connection?.hurry();
  }

  /** Ends this panel. The terminal goes on at the server. */
  end() {
    this.#connection?.leave();
    this.#ended.abort();
    this.screen?.close();
    this.element.remove();
  }

  #act(means) {
    if (means === "hurry") this.#connection.hurry();
    else if (means === "connect") this.#connection.connect();
    else this.#tell(means === "again" ? "again" : "sign in");
    if (!this.isOver) this.screen.focus();
  }

  #use(tool) {
    if (tool === "search") this.search.open();
    else if (tool === "files") this.files.toggle(this.id);
    else this.#tell("close");
  }

  #isForTerminal(event) {
    if (event.type !== "keydown") return true;
    if (event.key === "F6" && (event.ctrlKey || event.metaKey)) return this.#taken(event, () => this.#tell("leave"));
    if (!event.ctrlKey || !event.shiftKey || event.altKey) return true;
    if (event.code === "KeyC") return this.#taken(event, () => this.#copy());
    if (event.code === "KeyF") return this.#taken(event, () => this.search.open());
    return event.code !== "KeyV"; // the browser then sends the event `paste`
  }

  #taken(event, action) {
    event.preventDefault();
    action();
    return false;
  }

  async #copy() {
    const text = this.screen.terminal.getSelection();
    if (!text) this.notices.show("copy", "Nothing is selected. Mark text with the mouse, then copy it.");
    else if (await copy(text)) announce("Copied");
    else this.notices.show("copy", "This browser did not allow the copy. Use the menu of the right mouse button.");
  }

  async #pasteFromField() {
    const text = await askForText({ title: "Paste", sentence: "Put the text into the field, then paste it into the terminal.", action: "Paste" });
    if (text && this.#connection?.open) paste(this.screen.terminal, text);
  }

  async #showText() {
    const text = this.screen.visibleText();
    const all = await askForText({ title: "Copy", sentence: "This is the text of the screen. Mark a part to copy it.", action: "Copy all", text });
    if (all && (await copy(all))) announce("Copied");
  }

  #type(bytes) {
    if (!this.#connection?.type(bytes)) announce("Not sent: there is no connection.");
  }

  #seen() {
    if (this.screen.written - this.#told < SEEN_BYTES) return;
    this.#told = this.screen.written;
    this.#connection.seen(this.#told);
  }

  #lost(count) {
    this.screen.skipTo(this.#connection.received + count);
    this.#told = this.screen.written;
    this.notices.show("lost", `${size(count)} of output came while this page was away and were not kept.`);
  }

  #recorded(recorded) {
    this.#part("[data-part=recorded]").hidden = !recorded;
    if (recorded) this.notices.show("recorded", "This session is recorded.");
  }

  #showKeys() {
    this.#part(".keys").hidden = !settings.keyRow;
  }

  #tool(name) {
    return this.#part(`[data-tool=${name}]`);
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
